# What an organisation lets agents on all its hosts do at most, whatever the policies of each host permit:
# the other half of "both must permit" (docs/decision-point.md).
#
#   opa run --server --addr unix:///run/opa/opa.sock examples/opa/agentkeyd.rego
#
#   [policy.decision_point]
#   socket = "/run/opa/opa.sock"
#   url = "http://localhost/v0/data/agentkeyd/response"
#
# OPA's v0 data API takes the question as `input` and gives the document back, both as they are, so that the body
# of either is exactly what AuthZEN says.
package agentkeyd

response := {"decision": decision}

default decision := false

# Reading, from servers of ours.
decision if {
	input.action.name == "http-message"
	input.action.properties.method in {"GET", "HEAD"}
	startswith(input.action.properties.origin, "https://")
	endswith(input.action.properties.host, ".example")
}

# Payments to known payees, up to 5000, by agents whose host is attested. What the body says is in `members`, by
# JSON Pointer; a body that can not be judged has none, and nothing here is true of it.
decision if {
	input.action.name == "http-message"
	input.action.properties.method == "POST"
	input.action.properties.origin == "https://bank.example"
	input.action.properties.path == "/v1/payments"
	count(input.action.properties.query.members) == 0
	payment := input.action.properties.body.members
	is_number(payment["/amount"])
	payment["/amount"] > 0
	payment["/amount"] <= 5000
	payment["/payee"] in known_payees
	input.context.attestation.status == "good"
}

# Links to sub-agents that last an hour at most.
decision if {
	input.action.name == "delegate"
	input.action.properties.expiresInSeconds <= 3600
}

known_payees := {"DE89370400440532013000"}
