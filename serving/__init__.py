"""The service: HTTP routes, live histories and the web page, on a trained pipeline."""
