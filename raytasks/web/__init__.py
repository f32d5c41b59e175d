"""The pages for browsers: their files, and third-party files that they use (`vendor/`)."""

from pathlib import Path

DOCS = Path(__file__).parent / "docs"
"""The page of the API's documentation: Swagger UI over `/openapi.json`."""

SWAGGER_UI = Path(__file__).parent / "vendor" / "swagger-ui-dist"
