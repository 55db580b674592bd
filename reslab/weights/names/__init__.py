"""One module per naming scheme of another library's weights."""
