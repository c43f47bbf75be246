"""How Sphinx makes a site of what workflow/scripts/build_site.py gathers. Nothing is loaded from elsewhere."""

from covidpipe import __version__

project = "covidpipe"
version = release = __version__
extensions = ["myst_parser"]
root_doc = "index"
exclude_patterns = ["**/conf.py"]
# Headings are called in links as forges call them.
myst_heading_anchors = 4
nitpicky = True
highlight_language = "none"

html_theme = "furo"
html_title = f"covidpipe {__version__}"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_theme_options = {"footer_icons": [], "top_of_page_buttons": []}
