"""What a request passes on its way in, outermost first: access log, body limits, CORS, access."""
