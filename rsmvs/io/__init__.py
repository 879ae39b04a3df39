"""Files: the only place that opens rasters, camera files, point clouds and manifests."""
