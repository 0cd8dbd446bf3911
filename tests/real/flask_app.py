"""A Flask application that runs what it is sent."""

import service
from flask import Flask, jsonify, request

app = Flask(__name__)


@app.post("/run")
def run():
    return jsonify(service.answer(request.get_json()))


@app.get("/health")
def health():
    return jsonify(service.health())
