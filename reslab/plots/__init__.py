"""One description of a figure, rendered by matplotlib and by Plotly. No Keras."""
