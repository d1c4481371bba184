package hansom.runtime;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.Type;
import java.lang.reflect.TypeVariable;
import java.nio.charset.StandardCharsets;
import java.util.Map;

/** What a handler string names: pkg.Class::method, or pkg.Class of RequestHandler or RequestStreamHandler. */
final class Handler {
    private static final String CORE = "com.amazonaws.services.lambda.runtime.";

    private final Object receiver; // null for a static method
    private final Method method;
    private final Type[] types;
    private final Map<TypeVariable<?>, Type> bound;

    private Handler(Object receiver, Method method, Type type) {
        this.receiver = receiver;
        this.method = method;
        types = method.getGenericParameterTypes();
        bound = Binder.bound(type, Map.of());
        method.setAccessible(true);
    }

    static Handler load(String handler, ClassLoader loader) throws Throwable {
        String[] parts = handler.split("::", -1);
        if (parts.length > 2 || parts[0].isEmpty()) {
            throw new Failure("java.lang.IllegalArgumentException", handler + " is not a valid handler name: use pkg.Class::method or pkg.Class");
        }
        Class<?> c;
        try {
            c = Class.forName(parts[0], true, loader);
        } catch (ClassNotFoundException e) {
            throw new Failure("java.lang.ClassNotFoundException", "Class not found: " + parts[0]);
        } catch (ExceptionInInitializerError | NoClassDefFoundError e) {
            throw new Failure(e.getClass().getName(), "Error loading class " + parts[0] + (e.getMessage() == null ? "" : ": " + e.getMessage()),
                e.getCause());
        }
        Method m = parts.length == 2 ? named(c, parts[1]) : named(c, "handleRequest");
        if (parts.length == 1 && !isHandler(c)) {
            throw new Failure("java.lang.ClassCastException", "Class " + c.getName() + " does not implement an appropriate handler interface");
        }
        if (m == null) {
            throw new Failure("java.lang.NoSuchMethodException", "No public method named " + parts[parts.length - 1]
                + " with appropriate method signature found on class " + c.getName());
        }
        Object receiver = null;
        if (!Modifier.isStatic(m.getModifiers())) {
            try {
                receiver = Binder.construct(c.getConstructor());
            } catch (NoSuchMethodException e) {
                throw new Failure("java.lang.NoSuchMethodException", "Class " + c.getName() + " has no public zero-argument constructor");
            } catch (InstantiationException e) {
                throw new Failure("java.lang.InstantiationException", c.getName() + " is abstract and cannot be instantiated");
            }
        }
        return new Handler(receiver, m, c);
    }

    private static boolean isHandler(Class<?> c) {
        for (Class<?> k = c; k != null; k = k.getSuperclass()) {
            for (Class<?> i : k.getInterfaces()) {
                if (i.getName().equals(CORE + "RequestHandler") || i.getName().equals(CORE + "RequestStreamHandler") || isHandler(i)) {
                    return true;
                }
            }
        }
        return false;
    }

    /** The public method of that name which takes the most parameters that can be given; null for none. */
    private static Method named(Class<?> c, String name) {
        Method best = null;
        for (Method m : c.getMethods()) {
            if (!m.getName().equals(name) || m.isBridge() || m.isSynthetic() || !fits(m.getParameterTypes())) {
                continue;
            }
            if (best == null || m.getParameterCount() > best.getParameterCount()
                || m.getParameterCount() == best.getParameterCount() && best.getDeclaringClass().isAssignableFrom(m.getDeclaringClass())) {
                best = m;
            }
        }
        return best;
    }

    private static boolean fits(Class<?>[] p) {
        boolean last = p.length > 0 && isContext(p[p.length - 1]);
        int n = last ? p.length - 1 : p.length;
        return n <= 1 || n == 2 && p[0] == InputStream.class && p[1] == OutputStream.class;
    }

    private static boolean isContext(Class<?> c) {
        return c.getName().equals(CORE + "Context");
    }

    /** Returns the answer as JSON, or what the handler wrote to its stream. */
    byte[] call(byte[] event, Map<String, String> headers) throws Throwable {
        Object[] args = new Object[types.length];
        Class<?>[] raw = method.getParameterTypes();
        ByteArrayOutputStream out = null;
        for (int i = 0; i < args.length; i++) {
            if (isContext(raw[i])) {
                args[i] = Contexts.context(raw[i], headers);
            } else if (raw[i] == InputStream.class) {
                args[i] = new ByteArrayInputStream(event);
            } else if (raw[i] == OutputStream.class) {
                args[i] = out = new ByteArrayOutputStream();
            } else {
                args[i] = Binder.read(Json.read(new String(event, StandardCharsets.UTF_8)), types[i], bound);
            }
        }
        Object answer;
        try {
            answer = method.invoke(receiver, args);
        } catch (InvocationTargetException e) {
            throw e.getCause();
        }
        return out != null ? out.toByteArray() : Binder.write(answer).getBytes(StandardCharsets.UTF_8);
    }
}
