"""Where samples come from: cameras, video files, image folders, recorded sensors."""
