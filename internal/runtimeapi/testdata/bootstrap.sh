# A runtime of bash and curl, as AWS's tutorial on custom runtimes has it.
api="http://${AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime"
headers="$(mktemp)"
while true; do
	event=$(curl -sS -LD "$headers" "$api/invocation/next")
	id=$(grep -Fi Lambda-Runtime-Aws-Request-Id "$headers" | tr -d '[:space:]' | cut -d: -f2)
	case "$event" in
	exit) exit 1 ;;
	error) curl -sS "$api/invocation/$id/error" -d '{"errorMessage":"told to","errorType":"E"}' ;;
	*) echo -n "Echoing request: '$event'" | curl -sS "$api/invocation/$id/response" --data-binary @- ;;
	esac
done
