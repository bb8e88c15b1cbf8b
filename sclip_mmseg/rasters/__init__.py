"""Maps: georeferenced images of any size, read and written block by block.

rasterio and the other packages of the extra ``[maps]`` are only imported when a map is opened.
"""
