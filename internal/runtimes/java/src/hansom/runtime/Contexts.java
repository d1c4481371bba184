package hansom.runtime;

import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Makes the Context of the package's own aws-lambda-java-core, whatever its version: this runtime does not bring one. */
final class Contexts {
    private Contexts() {}

    /** Answers methods by their names; what is not known is null, 0 or false. */
    private static Object proxy(Class<?> type, Map<String, Object> answers) {
        InvocationHandler handler = (self, m, args) -> {
            Object answer = answers.get(m.getName());
            if (answer instanceof Call) {
                return ((Call) answer).with(m, args);
            }
            if (answer != null) {
                return answer;
            }
            switch (m.getName()) {
                case "toString":
                    return answers.toString();
                case "hashCode":
                    return System.identityHashCode(self);
                case "equals":
                    return self == args[0];
                default:
                    Class<?> result = m.getReturnType();
                    return result == boolean.class ? (Object) false : result == int.class ? (Object) 0 : result == long.class ? (Object) 0L : null;
            }
        };
        return Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[] {type}, handler);
    }

    private interface Call {
        Object with(Method m, Object[] args) throws Throwable;
    }

    static Object context(Class<?> type, Map<String, String> headers) throws ReflectiveOperationException {
        long deadline = Long.parseLong(headers.getOrDefault("lambda-runtime-deadline-ms", "0"));
        Map<String, Object> a = new LinkedHashMap<>();
        a.put("getAwsRequestId", headers.get("lambda-runtime-aws-request-id"));
        a.put("getInvokedFunctionArn", headers.get("lambda-runtime-invoked-function-arn"));
        a.put("getXrayTraceId", headers.get("lambda-runtime-trace-id"));
        a.put("getLogGroupName", System.getenv("AWS_LAMBDA_LOG_GROUP_NAME"));
        a.put("getLogStreamName", System.getenv("AWS_LAMBDA_LOG_STREAM_NAME"));
        a.put("getFunctionName", System.getenv("AWS_LAMBDA_FUNCTION_NAME"));
        a.put("getFunctionVersion", System.getenv("AWS_LAMBDA_FUNCTION_VERSION"));
        a.put("getMemoryLimitInMB", Integer.valueOf(System.getenv().getOrDefault("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0")));
        a.put("getRemainingTimeInMillis", (Call) (m, args) -> (int) Math.max(0, Math.min(Integer.MAX_VALUE, deadline - System.currentTimeMillis())));
        a.put("getLogger", proxy(type.getMethod("getLogger").getReturnType(), Map.of("log", (Call) (m, args) -> log(args, headers.get("lambda-runtime-aws-request-id")))));
        a.put("getIdentity", identity(type, headers.get("lambda-runtime-cognito-identity")));
        a.put("getClientContext", clientContext(type, headers.get("lambda-runtime-client-context")));
        return proxy(type, a);
    }

    private static final boolean JSON = "JSON".equals(System.getenv("AWS_LAMBDA_LOG_FORMAT"));
    private static final DateTimeFormatter TIME = DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'").withZone(ZoneOffset.UTC);
    private static final List<String> LEVELS = List.of("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL");
    private static final int LEAST = LEVELS.indexOf(System.getenv().getOrDefault("AWS_LAMBDA_LOG_LEVEL", ""));

    /** Logs a message and perhaps its LogLevel; one without is logged at every level, as Lambda's own runtime does. */
    private static Object log(Object[] args, String request) throws ReflectiveOperationException {
        Object message = args[0];
        String level = args.length > 1 ? String.valueOf(args[1]) : "UNDEFINED";
        if (LEVELS.contains(level) && LEVELS.indexOf(level) < LEAST) {
            return null;
        }
        if (JSON) {
            Map<String, Object> line = new LinkedHashMap<>();
            line.put("timestamp", TIME.format(Instant.now()));
            line.put("level", level);
            line.put("message", message instanceof byte[] ? new String((byte[]) message, StandardCharsets.UTF_8) : String.valueOf(message));
            line.put("AWSRequestId", request);
            System.out.print(Binder.write(line) + "\n");
        } else if (message instanceof byte[]) {
            byte[] bytes = (byte[]) message;
            System.out.write(bytes, 0, bytes.length);
            System.out.flush();
        } else {
            String text = String.valueOf(message);
            System.out.print(text.endsWith("\n") ? text : text + "\n");
        }
        return null;
    }

    private static Object identity(Class<?> context, String json) throws ReflectiveOperationException {
        Map<String, Object> a = new HashMap<>();
        if (json != null && !json.isEmpty()) {
            Map<?, ?> v = (Map<?, ?>) Json.read(json);
            a.put("getIdentityId", v.get("cognitoIdentityId"));
            a.put("getIdentityPoolId", v.get("cognitoIdentityPoolId"));
        }
        return proxy(context.getMethod("getIdentity").getReturnType(), a);
    }

    private static Object clientContext(Class<?> context, String json) throws ReflectiveOperationException {
        if (json == null || json.isEmpty()) {
            return null;
        }
        Object read = Json.read(new String(json.getBytes(StandardCharsets.UTF_8), StandardCharsets.UTF_8));
        if (!(read instanceof Map)) {
            return null;
        }
        Class<?> type = context.getMethod("getClientContext").getReturnType();
        Map<?, ?> v = (Map<?, ?>) read;
        Map<String, Object> a = new HashMap<>();
        a.put("getCustom", strings(v.get("custom")));
        a.put("getEnvironment", strings(v.get("env")));
        if (v.get("client") instanceof Map) {
            Map<?, ?> c = (Map<?, ?>) v.get("client");
            Map<String, Object> client = new HashMap<>();
            client.put("getInstallationId", c.get("installation_id"));
            client.put("getAppTitle", c.get("app_title"));
            client.put("getAppVersionName", c.get("app_version_name"));
            client.put("getAppVersionCode", c.get("app_version_code"));
            client.put("getAppPackageName", c.get("app_package_name"));
            a.put("getClient", proxy(type.getMethod("getClient").getReturnType(), client));
        }
        return proxy(type, a);
    }

    private static Map<String, String> strings(Object v) {
        Map<String, String> m = new LinkedHashMap<>();
        if (v instanceof Map) {
            ((Map<?, ?>) v).forEach((name, value) -> m.put((String) name, value == null ? null : value.toString()));
        }
        return m;
    }
}
