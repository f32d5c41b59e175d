"""The four real task types over real HTTP, with the sample files."""

import base64
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from tests.cluster.conftest import Service

SAMPLES = Path(__file__).parents[2] / "samples"


def test_text_is_counted(service: Service) -> None:
    text = (SAMPLES / "essay.txt").read_text(encoding="utf-8")
    done = service.run("text_processing", {"text": text})
    assert done["state"] == "COMPLETED"
    assert done["result"]["character_count"] == len(text)
    assert done["result"]["line_count"] == len(text.splitlines())
    assert done["result"]["processed_text"] == " ".join(text.split())
    assert done["payload"]["text"] == text


def test_summary_is_made_of_the_documents_own_sentences(service: Service) -> None:
    document = (SAMPLES / "essay.txt").read_text(encoding="utf-8")
    done = service.run("ai_summarization", {"document": document, "max_sentences": 2})
    result = done["result"]
    assert len(result["sentences"]) == 2
    flat = " ".join(document.split())
    places = [flat.index(sentence) for sentence in result["sentences"]]
    assert places == sorted(places)
    assert result["original_length"] == len(document)
    assert result["summary_length"] == len(result["summary"])


def test_batch_fans_out_over_the_cluster_and_keeps_the_order(service: Service) -> None:
    data = [f"  Item   {number} " for number in range(5000)]
    done = service.run("batch_processing", {"data": data, "operation": "normalize"})
    result = done["result"]
    assert done["state"] == "COMPLETED"
    assert result["processed_count"] == 5000
    assert result["sample"][:3] == ["item 0", "item 1", "item 2"]
    everything = json.loads(service.http.get(result["results_url"]).content)
    assert everything == [f"item {number}" for number in range(5000)]
    assert done["progress"]["fraction"] == 1


def test_batch_tells_which_items_failed_and_why(service: Service) -> None:
    payload = {"data": ["a", 7, "b"], "operation": "normalize"}
    result = service.run("batch_processing", payload)["result"]
    assert (result["processed_count"], result["failed_count"]) == (2, 1)
    assert result["failures"][0]["index"] == 1
    failed = service.run("batch_processing", {**payload, "fail_on_error": True})
    assert failed["state"] == "FAILED"
    assert len(failed["attempts"]) == 1


def test_image_is_resized_compressed_and_served(service: Service) -> None:
    content = (SAMPLES / "landscape.jpg").read_bytes()
    url = "data:image/jpeg;base64," + base64.b64encode(content).decode()
    done = service.run("image_processing", {"image_url": url, "width": 200, "format": "PNG"})
    assert done["state"] == "COMPLETED", done["error"]
    result = done["result"]
    for name in ("resized", "compressed"):
        served = service.http.get(result[f"{name}_url"])
        assert served.status_code == 200
        assert served.headers["content-type"] == "image/png"
        assert len(served.content) == result[name]["bytes"]
        with Image.open(io.BytesIO(served.content)) as picture:
            assert (picture.width, picture.height) == (
                result[name]["width"],
                result[name]["height"],
            )
    assert result["resized"]["width"] == 200


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8265/",
        "http://localhost/x.png",
        "http://[::1]/",
        "http://169.254.169.254/",
    ],
)
def test_private_address_is_accepted_and_then_fails_for_good(service: Service, url: str) -> None:
    failed = service.run("image_processing", {"image_url": url})
    assert failed["state"] == "FAILED"
    assert len(failed["attempts"]) == 1
    assert failed["error"]["retryable"] is False
    assert "FETCH_ALLOWED_HOSTS" in failed["error"]["message"]
