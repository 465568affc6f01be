"""The API's description (OpenAPI 3.1): what routes say of themselves, and what all share."""
