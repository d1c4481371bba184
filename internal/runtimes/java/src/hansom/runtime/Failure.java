package hansom.runtime;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** An error in the words of the runtime, and how errors become Lambda's JSON. */
final class Failure extends Exception {
    private static final long serialVersionUID = 1;

    final String type;

    Failure(String type, String message) {
        this(type, message, null);
    }

    Failure(String type, String message, Throwable cause) {
        super(message, cause, false, false);
        this.type = type;
    }

    static String type(Throwable t) {
        return t instanceof Failure ? ((Failure) t).type : t.getClass().getName();
    }

    static Map<String, Object> describe(Throwable t) {
        return describe(t, 0);
    }

    private static Map<String, Object> describe(Throwable t, int depth) {
        Map<String, Object> m = new LinkedHashMap<>();
        String message;
        try {
            message = t.getMessage();
        } catch (Throwable unreadable) {
            message = "the message could not be read: " + unreadable.getClass().getName();
        }
        if (message != null) {
            m.put("errorMessage", message);
        }
        m.put("errorType", type(t));
        StackTraceElement[] frames = t.getStackTrace();
        if (frames.length > 0) {
            m.put("stackTrace", trace(frames));
        }
        if (t.getCause() != null && t.getCause() != t && depth < 20) {
            m.put("cause", describe(t.getCause(), depth + 1));
        }
        return m;
    }

    /** The function's part of a stack trace: what called it is this runtime's, by reflection. */
    private static List<String> trace(StackTraceElement[] frames) {
        int end = frames.length;
        for (int i = 0; i < frames.length; i++) {
            if (frames[i].getClassName().startsWith("hansom.runtime.")) {
                end = i;
                break;
            }
        }
        while (end > 0 && isReflection(frames[end - 1].getClassName())) {
            end--;
        }
        List<String> lines = new ArrayList<>();
        for (int i = 0; i < end; i++) {
            lines.add(frames[i].toString());
        }
        return lines;
    }

    private static boolean isReflection(String name) {
        return name.startsWith("jdk.internal.reflect.") || name.startsWith("java.lang.reflect.") || name.startsWith("java.lang.invoke.")
            || name.equals("java.lang.Class") || name.equals("java.lang.ClassLoader");
    }
}
