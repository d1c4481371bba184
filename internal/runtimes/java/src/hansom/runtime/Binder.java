package hansom.runtime;

import java.lang.reflect.AnnotatedElement;
import java.lang.reflect.Array;
import java.lang.reflect.Constructor;
import java.lang.reflect.Field;
import java.lang.reflect.GenericArrayType;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.lang.reflect.TypeVariable;
import java.lang.reflect.WildcardType;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.Date;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Queue;
import java.util.Set;
import java.util.SortedMap;
import java.util.SortedSet;
import java.util.TreeMap;
import java.util.TreeSet;

/** Turns what Json reads into the type of a handler's parameter, and what a handler returns into JSON. */
final class Binder {
    private Binder() {}

    private static IllegalArgumentException unfit(Object value, Type type) {
        String found = value == null ? "null" : value instanceof Map ? "an object" : value instanceof List ? "an array"
            : value instanceof String ? "a string" : value instanceof Boolean ? "a boolean" : "a number";
        return new IllegalArgumentException("An error occurred during JSON parsing: " + found + " is not a " + type.getTypeName());
    }

    /** bound maps the type variables that are known; others are Object. */
    static Object read(Object value, Type type, Map<TypeVariable<?>, Type> bound) throws ReflectiveOperationException {
        if (type instanceof TypeVariable) {
            Type known = bound.get(type);
            return read(value, known == null ? ((TypeVariable<?>) type).getBounds()[0] : known, bound);
        }
        if (type instanceof WildcardType) {
            return read(value, ((WildcardType) type).getUpperBounds()[0], bound);
        }
        if (type instanceof GenericArrayType) {
            Type element = ((GenericArrayType) type).getGenericComponentType();
            return array(value, raw(element, bound), element, type, bound);
        }
        Class<?> c = raw(type, bound);
        if (value == null) {
            if (c.isPrimitive()) {
                return Array.get(Array.newInstance(c, 1), 0);
            }
            return c == Optional.class ? Optional.empty() : null;
        }
        if (c == Object.class) {
            return value;
        }
        if (c == String.class || c == CharSequence.class) {
            if (value instanceof Map || value instanceof List) {
                throw unfit(value, type);
            }
            return value.toString();
        }
        if (c == boolean.class || c == Boolean.class) {
            if (value instanceof String && ("true".equals(value) || "false".equals(value))) {
                return "true".equals(value);
            }
            if (!(value instanceof Boolean)) {
                throw unfit(value, type);
            }
            return value;
        }
        if (c == char.class || c == Character.class) {
            if (!(value instanceof String) || ((String) value).length() != 1) {
                throw unfit(value, type);
            }
            return ((String) value).charAt(0);
        }
        if (c.isPrimitive() || Number.class.isAssignableFrom(c)) {
            return number(value, c, type);
        }
        if (c.isEnum()) {
            for (Object constant : c.getEnumConstants()) {
                if (((Enum<?>) constant).name().equals(value)) {
                    return constant;
                }
            }
            throw unfit(value, type);
        }
        if (c == byte[].class && value instanceof String) {
            return Base64.getDecoder().decode((String) value);
        }
        if (c.isArray()) {
            return array(value, c.getComponentType(), c.getComponentType(), type, bound);
        }
        if (c == Optional.class) {
            return Optional.ofNullable(read(value, argument(type, 0), bound));
        }
        if (c == Date.class && value instanceof Number) {
            return new Date(((Number) value).longValue());
        }
        if (c.getName().startsWith("java.time.") && value instanceof String) {
            return call(c.getMethod("parse", CharSequence.class), null, value);
        }
        if (Collection.class.isAssignableFrom(c)) {
            return collection(value, c, type, bound);
        }
        if (Map.class.isAssignableFrom(c)) {
            return map(value, c, type, bound);
        }
        return object(value, c, type, bound);
    }

    private static Object number(Object value, Class<?> c, Type type) {
        if (!(value instanceof Number || value instanceof String)) {
            throw unfit(value, type);
        }
        BigDecimal n;
        try {
            n = new BigDecimal(value.toString());
        } catch (NumberFormatException e) {
            throw unfit(value, type);
        }
        try {
            switch (c.getSimpleName()) {
                case "int":
                case "Integer":
                    return n.toBigInteger().intValueExact();
                case "long":
                case "Long":
                    return n.toBigInteger().longValueExact();
                case "short":
                case "Short":
                    return n.toBigInteger().shortValueExact();
                case "byte":
                case "Byte":
                    return n.toBigInteger().byteValueExact();
                case "double":
                case "Double":
                    return n.doubleValue();
                case "float":
                case "Float":
                    return n.floatValue();
                default:
            }
        } catch (ArithmeticException e) {
            throw unfit(value, type);
        }
        if (c == BigDecimal.class) {
            return n;
        }
        if (c == BigInteger.class) {
            return n.toBigInteger();
        }
        if (c == Number.class && value instanceof Number) {
            return value;
        }
        throw unfit(value, type);
    }

    private static Object array(Object value, Class<?> component, Type element, Type type, Map<TypeVariable<?>, Type> bound)
            throws ReflectiveOperationException {
        if (!(value instanceof List)) {
            throw unfit(value, type);
        }
        List<?> list = (List<?>) value;
        Object array = Array.newInstance(component, list.size());
        for (int i = 0; i < list.size(); i++) {
            Array.set(array, i, read(list.get(i), element, bound));
        }
        return array;
    }

    @SuppressWarnings("unchecked")
    private static Object collection(Object value, Class<?> c, Type type, Map<TypeVariable<?>, Type> bound) throws ReflectiveOperationException {
        if (!(value instanceof List)) {
            throw unfit(value, type);
        }
        Collection<Object> made;
        if (!c.isInterface()) {
            made = (Collection<Object>) construct(c, value);
        } else if (SortedSet.class.isAssignableFrom(c)) {
            made = new TreeSet<>();
        } else if (Set.class.isAssignableFrom(c)) {
            made = new LinkedHashSet<>();
        } else if (Queue.class.isAssignableFrom(c)) {
            made = new ArrayDeque<>();
        } else {
            made = new ArrayList<>();
        }
        for (Object element : (List<?>) value) {
            made.add(read(element, argument(type, 0), bound));
        }
        return made;
    }

    @SuppressWarnings("unchecked")
    private static Object map(Object value, Class<?> c, Type type, Map<TypeVariable<?>, Type> bound) throws ReflectiveOperationException {
        if (!(value instanceof Map)) {
            throw unfit(value, type);
        }
        Map<Object, Object> made;
        if (!c.isInterface()) {
            made = (Map<Object, Object>) construct(c, value);
        } else {
            made = SortedMap.class.isAssignableFrom(c) ? new TreeMap<>() : new LinkedHashMap<>();
        }
        for (Map.Entry<?, ?> e : ((Map<?, ?>) value).entrySet()) {
            made.put(read(e.getKey(), argument(type, 0), bound), read(e.getValue(), argument(type, 1), bound));
        }
        return made;
    }

    private static Object object(Object value, Class<?> c, Type type, Map<TypeVariable<?>, Type> bound) throws ReflectiveOperationException {
        Map<TypeVariable<?>, Type> here = bound(type, bound);
        if (!(value instanceof Map)) {
            return fromScalar(value, c, type);
        }
        Map<?, ?> members = (Map<?, ?>) value;
        if (isRecord(c)) {
            return record(members, c, here);
        }
        Object made = construct(c, value);
        Map<String, Property> properties = properties(c);
        for (Map.Entry<?, ?> e : members.entrySet()) {
            String name = (String) e.getKey();
            Property p = properties.get(name);
            if (p == null) { // "Records" and "eventSourceARN" of AWS's events
                p = properties.get(name.toLowerCase(java.util.Locale.ROOT));
            }
            if (p == null || e.getValue() == null && p.isPrimitive()) {
                continue;
            }
            if (p.setter != null) {
                call(p.setter, made, read(e.getValue(), p.setter.getGenericParameterTypes()[0], here));
            } else if (p.field != null && !Modifier.isFinal(p.field.getModifiers())) {
                p.field.set(made, read(e.getValue(), p.field.getGenericType(), here));
            }
        }
        return made;
    }

    /** A type with a public constructor or valueOf of one String, such as URI. */
    private static Object fromScalar(Object value, Class<?> c, Type type) throws ReflectiveOperationException {
        if (value instanceof String) {
            for (String factory : new String[] {"fromString", "valueOf", "create"}) {
                try {
                    Method m = c.getMethod(factory, String.class);
                    if (Modifier.isStatic(m.getModifiers()) && m.getReturnType() == c) {
                        return call(m, null, value);
                    }
                } catch (NoSuchMethodException e) {
                    continue;
                }
            }
            try {
                return construct(c.getConstructor(String.class), value);
            } catch (NoSuchMethodException e) {
                throw unfit(value, type);
            }
        }
        throw unfit(value, type);
    }

    private static Object construct(Class<?> c, Object value) throws ReflectiveOperationException {
        if (c.isInterface() || Modifier.isAbstract(c.getModifiers())) {
            throw new IllegalArgumentException("An error occurred during JSON parsing: " + c.getName() + " is abstract and cannot be made from the event");
        }
        try {
            Constructor<?> k = c.getDeclaredConstructor();
            k.setAccessible(true);
            return construct(k);
        } catch (NoSuchMethodException e) {
            throw new IllegalArgumentException("An error occurred during JSON parsing: " + c.getName() + " has no constructor without parameters");
        }
    }

    static Object construct(Constructor<?> k, Object... args) throws ReflectiveOperationException {
        try {
            return k.newInstance(args);
        } catch (InvocationTargetException e) {
            throw sneak(e.getCause());
        }
    }

    static Object call(Method m, Object receiver, Object... args) throws ReflectiveOperationException {
        try {
            return m.invoke(receiver, args);
        } catch (InvocationTargetException e) {
            throw sneak(e.getCause());
        }
    }

    /** Throws what the function threw. */
    @SuppressWarnings("unchecked")
    static <T extends Throwable> RuntimeException sneak(Throwable t) throws T {
        throw (T) t;
    }

    /** Records are newer than the Java that this is compiled for. */
    private static boolean isRecord(Class<?> c) {
        return c.getSuperclass() != null && c.getSuperclass().getName().equals("java.lang.Record");
    }

    private static Object record(Map<?, ?> members, Class<?> c, Map<TypeVariable<?>, Type> bound) throws ReflectiveOperationException {
        Object[] components = (Object[]) Class.class.getMethod("getRecordComponents").invoke(c);
        Class<?>[] types = new Class<?>[components.length];
        Object[] args = new Object[components.length];
        for (int i = 0; i < components.length; i++) {
            Class<?> component = components[i].getClass();
            types[i] = (Class<?>) component.getMethod("getType").invoke(components[i]);
            Type generic = (Type) component.getMethod("getGenericType").invoke(components[i]);
            args[i] = read(members.get(component.getMethod("getName").invoke(components[i])), generic, bound);
        }
        Constructor<?> k = c.getDeclaredConstructor(types);
        k.setAccessible(true);
        return construct(k, args);
    }

    static final class Property {
        Method getter;
        Method setter;
        Field field;
        String name;

        boolean isPrimitive() {
            return setter != null ? setter.getParameterTypes()[0].isPrimitive() : field != null && field.getType().isPrimitive();
        }
    }

    private static final Map<Class<?>, Map<String, Property>> KNOWN = new HashMap<>();

    /** By name and, where that is free, by name in lower case. */
    private static synchronized Map<String, Property> properties(Class<?> c) {
        Map<String, Property> known = KNOWN.get(c);
        if (known != null) {
            return known;
        }
        Map<String, Property> all = new LinkedHashMap<>();
        for (Method m : c.getMethods()) {
            if (Modifier.isStatic(m.getModifiers()) || m.isBridge() || m.getDeclaringClass() == Object.class || ignored(m)) {
                continue;
            }
            String name = m.getName();
            Class<?> result = m.getReturnType();
            if (m.getParameterCount() == 1 && name.startsWith("set") && name.length() > 3) {
                Property p = property(all, named(m, lower(name.substring(3))));
                if (p.setter == null || p.getter != null && p.getter.getReturnType() == m.getParameterTypes()[0]) {
                    p.setter = accessible(m);
                }
            } else if (m.getParameterCount() == 0 && result != void.class && name.startsWith("get") && name.length() > 3) {
                property(all, named(m, lower(name.substring(3)))).getter = accessible(m);
            } else if (m.getParameterCount() == 0 && (result == boolean.class || result == Boolean.class) && name.startsWith("is") && name.length() > 2) {
                property(all, named(m, lower(name.substring(2)))).getter = accessible(m);
            } else if (isRecord(c) && m.getParameterCount() == 0 && isComponent(c, name)) {
                property(all, name).getter = accessible(m);
            }
        }
        for (Field f : c.getFields()) {
            if (!Modifier.isStatic(f.getModifiers()) && !ignored(f)) {
                f.setAccessible(true);
                property(all, named(f, f.getName())).field = f;
            }
        }
        for (Property p : List.copyOf(all.values())) {
            all.putIfAbsent(p.name.toLowerCase(java.util.Locale.ROOT), p);
        }
        KNOWN.put(c, all);
        return all;
    }

    private static boolean isComponent(Class<?> c, String name) {
        try {
            return !Modifier.isStatic(c.getDeclaredField(name).getModifiers());
        } catch (NoSuchFieldException e) {
            return false;
        }
    }

    private static Property property(Map<String, Property> all, String name) {
        Property p = all.computeIfAbsent(name, n -> new Property());
        p.name = name;
        return p;
    }

    private static Method accessible(Method m) {
        m.setAccessible(true); // public methods of classes that are not
        return m;
    }

    /** The two annotations of Jackson that nearly all use, by name: the package may have Jackson, this runtime has not. */
    private static String named(AnnotatedElement e, String name) {
        Object given = annotation(e, "com.fasterxml.jackson.annotation.JsonProperty");
        return given instanceof String && !((String) given).isEmpty() ? (String) given : name;
    }

    private static boolean ignored(AnnotatedElement e) {
        return Boolean.TRUE.equals(annotation(e, "com.fasterxml.jackson.annotation.JsonIgnore"));
    }

    private static Object annotation(AnnotatedElement e, String type) {
        for (java.lang.annotation.Annotation a : e.getAnnotations()) {
            if (a.annotationType().getName().equals(type)) {
                try {
                    return a.annotationType().getMethod("value").invoke(a);
                } catch (ReflectiveOperationException x) {
                    return null;
                }
            }
        }
        return null;
    }

    /** "URLName" becomes "urlname", "UserID" "userID", as Jackson does it. */
    private static String lower(String s) {
        char[] c = s.toCharArray();
        for (int i = 0; i < c.length && Character.isUpperCase(c[i]); i++) {
            c[i] = Character.toLowerCase(c[i]);
        }
        return new String(c);
    }

    // Types.

    static Class<?> raw(Type type, Map<TypeVariable<?>, Type> bound) {
        if (type instanceof Class) {
            return (Class<?>) type;
        }
        if (type instanceof ParameterizedType) {
            return (Class<?>) ((ParameterizedType) type).getRawType();
        }
        if (type instanceof GenericArrayType) {
            return Array.newInstance(raw(((GenericArrayType) type).getGenericComponentType(), bound), 0).getClass();
        }
        if (type instanceof WildcardType) {
            return raw(((WildcardType) type).getUpperBounds()[0], bound);
        }
        Type known = bound.get(type);
        return raw(known == null ? ((TypeVariable<?>) type).getBounds()[0] : known, bound);
    }

    private static Type argument(Type type, int i) {
        if (type instanceof ParameterizedType) {
            Type[] all = ((ParameterizedType) type).getActualTypeArguments();
            return i < all.length ? all[i] : Object.class;
        }
        return Object.class;
    }

    /** The variables of a type and of all that it extends or implements. */
    static Map<TypeVariable<?>, Type> bound(Type type, Map<TypeVariable<?>, Type> outer) {
        Map<TypeVariable<?>, Type> all = new HashMap<>(outer);
        bind(type, all);
        return all;
    }

    private static void bind(Type type, Map<TypeVariable<?>, Type> all) {
        if (type == null) {
            return;
        }
        Class<?> c = raw(type, all);
        if (type instanceof ParameterizedType) {
            Type[] args = ((ParameterizedType) type).getActualTypeArguments();
            for (int i = 0; i < args.length; i++) {
                Type arg = args[i] instanceof TypeVariable ? all.getOrDefault(args[i], args[i]) : args[i];
                if (arg != c.getTypeParameters()[i]) {
                    all.put(c.getTypeParameters()[i], arg);
                }
            }
        }
        bind(c.getGenericSuperclass(), all);
        for (Type t : c.getGenericInterfaces()) {
            bind(t, all);
        }
    }

    // Writing.

    static String write(Object value) throws ReflectiveOperationException {
        StringBuilder b = new StringBuilder();
        write(b, value, 0);
        return b.toString();
    }

    private static void write(StringBuilder b, Object v, int depth) throws ReflectiveOperationException {
        if (depth > 1000) {
            throw new IllegalArgumentException("An error occurred during JSON serialization of response: it refers to itself");
        }
        if (v == null || v instanceof Double && !Double.isFinite((Double) v) || v instanceof Float && !Float.isFinite((Float) v)) {
            b.append("null");
        } else if (v instanceof CharSequence || v instanceof Character) {
            Json.quote(b, v.toString());
        } else if (v instanceof Enum) {
            Json.quote(b, ((Enum<?>) v).name());
        } else if (v instanceof Number || v instanceof Boolean) {
            b.append(v);
        } else if (v instanceof Date) {
            b.append(((Date) v).getTime());
        } else if (v instanceof Optional) {
            write(b, ((Optional<?>) v).orElse(null), depth + 1);
        } else if (v instanceof byte[]) {
            Json.quote(b, Base64.getEncoder().encodeToString((byte[]) v));
        } else if (v instanceof Map) {
            String separator = "{";
            for (Map.Entry<?, ?> e : ((Map<?, ?>) v).entrySet()) {
                b.append(separator);
                Json.quote(b, String.valueOf(e.getKey()));
                write(b.append(':'), e.getValue(), depth + 1);
                separator = ",";
            }
            b.append(separator.equals("{") ? "{}" : "}");
        } else if (v instanceof Iterable && !(v instanceof java.nio.file.Path)) {
            String separator = "[";
            for (Object e : (Iterable<?>) v) {
                write(b.append(separator), e, depth + 1);
                separator = ",";
            }
            b.append(separator.equals("[") ? "[]" : "]");
        } else if (v.getClass().isArray()) {
            b.append('[');
            for (int i = 0; i < Array.getLength(v); i++) {
                write(i == 0 ? b : b.append(','), Array.get(v, i), depth + 1);
            }
            b.append(']');
        } else if (v.getClass().getName().startsWith("java.") || v instanceof Class) {
            Json.quote(b, v.toString()); // java.time, UUID, URI
        } else {
            object(b, v, depth);
        }
    }

    private static void object(StringBuilder b, Object v, int depth) throws ReflectiveOperationException {
        String separator = "{";
        for (Map.Entry<String, Property> e : properties(v.getClass()).entrySet()) {
            Property p = e.getValue();
            if (!e.getKey().equals(p.name) || p.getter == null && p.field == null) {
                continue;
            }
            b.append(separator);
            Json.quote(b, p.name);
            write(b.append(':'), p.getter != null ? call(p.getter, v) : p.field.get(v), depth + 1);
            separator = ",";
        }
        b.append(separator.equals("{") ? "{}" : "}");
    }
}
