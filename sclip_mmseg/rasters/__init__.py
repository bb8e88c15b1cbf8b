"""Maps: pictures with georeference, of any size, read and written block by block.

rasterio and what else the extra ``[maps]`` installs are imported only once a map is opened.
"""
