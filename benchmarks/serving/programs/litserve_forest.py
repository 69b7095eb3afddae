"""LitServe around a scikit-learn model, one API process, one worker. In the environment `litserve`: PORT MODEL."""

import sys

import joblib
import litserve


class Forest(litserve.LitAPI):
    def setup(self, device: str) -> None:  # noqa: ARG002 (what LitServe calls with)
        self.model = joblib.load(sys.argv[2])

    # LitServe reads the annotation of `request`; without one it hands over the JSON as it is.
    def decode_request(self, request):
        return list(request["features"].values())

    def predict(self, x: list[float]) -> float:
        return float(self.model.predict_proba([x])[0, 1])

    def encode_response(self, output: float) -> dict[str, float]:
        return {"probability": output}


if __name__ == "__main__":
    server = litserve.LitServer(Forest(), accelerator="cpu", devices=1, workers_per_device=1)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False, log_level="error"
    )
