"""What timm and open_clip lack: parts of models that several papers share."""
