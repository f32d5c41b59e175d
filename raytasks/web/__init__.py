"""The pages for browsers: their files, and those of others that they use (`vendor/`)."""

from pathlib import Path

DOCS = Path(__file__).parent / "docs"
"""The page of the API's documents: Swagger UI over `/openapi.json`."""

SWAGGER_UI = Path(__file__).parent / "vendor" / "swagger-ui-dist"
