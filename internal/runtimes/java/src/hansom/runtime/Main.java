package hansom.runtime;

import java.io.File;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** The bootstrap of the Java runtimes: polls the Lambda Runtime API and calls a handler. Arguments: the code's directory and the layers' lib. */
public final class Main {
    private static Api api;

    private Main() {}

    public static void main(String[] args) throws Exception {
        // Whatever locale the function's LANG asks for.
        System.setOut(new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(new FileOutputStream(FileDescriptor.err), true, StandardCharsets.UTF_8));
        api = new Api(System.getenv("AWS_LAMBDA_RUNTIME_API"));
        Handler handler = null;
        try {
            ClassLoader loader = new URLClassLoader(classpath(args[0], args[1]), Main.class.getClassLoader());
            Thread.currentThread().setContextClassLoader(loader);
            handler = Handler.load(System.getenv().getOrDefault("_HANDLER", ""), loader);
        } catch (Throwable t) {
            fail("init/error", t);
            System.exit(1);
        }
        for (;;) {
            invoke(handler);
        }
    }

    private static void invoke(Handler handler) throws IOException {
        Api.Answer event = api.next();
        String path = "invocation/" + event.headers.get("lambda-runtime-aws-request-id");
        String trace = event.headers.get("lambda-runtime-trace-id");
        if (trace != null) {
            System.setProperty("com.amazonaws.xray.traceHeader", trace);
        } else {
            System.clearProperty("com.amazonaws.xray.traceHeader");
        }
        byte[] answer;
        try {
            answer = handler.call(event.body, event.headers);
        } catch (Throwable t) {
            fail(path + "/error", t);
            if (t instanceof OutOfMemoryError) { // other threads may have missed it
                System.exit(1);
            }
            return;
        }
        api.post(path + "/response", answer, "application/json", null);
    }

    private static void fail(String path, Throwable t) throws IOException {
        String json;
        try {
            t.printStackTrace();
            json = Binder.write(Failure.describe(t));
        } catch (ReflectiveOperationException | RuntimeException | StackOverflowError e) {
            json = "{\"errorType\":\"" + Failure.type(t) + "\"}";
        }
        api.post(path, json.getBytes(StandardCharsets.UTF_8), "application/json", Failure.type(t));
    }

    /** As on Lambda: the code, the archives of its lib, those of the layers' lib. */
    private static URL[] classpath(String code, String layers) throws MalformedURLException {
        List<URL> urls = new ArrayList<>();
        urls.add(new File(code + "/").toURI().toURL());
        for (String dir : new String[] {code + "/lib", layers}) {
            File[] jars = new File(dir).listFiles((d, name) -> name.endsWith(".jar"));
            if (jars != null) {
                Arrays.sort(jars);
                for (File jar : jars) {
                    urls.add(jar.toURI().toURL());
                }
            }
        }
        return urls.toArray(new URL[0]);
    }
}
