"""The pages for browsers: their files, and third-party files that they use (`vendor/`)."""

from pathlib import Path

DOCS = Path(__file__).parent / "docs"
"""The page of the API's documentation: Swagger UI over `/openapi.json`."""

UI = Path(__file__).parent / "ui"
"""The page for operators and developers, `/ui/`: ES modules without a build step."""

VENDOR = Path(__file__).parent / "vendor"
"""The third-party files, as `lock.json` names them."""

SWAGGER_UI = VENDOR / "swagger-ui-dist"
