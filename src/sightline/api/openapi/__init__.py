"""The OpenAPI 3.1 description of the API: of each route, and what all routes share."""
