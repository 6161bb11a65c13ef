import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Lets a Java program be a model. Copy this file into it, and call, once the model is loaded:
 *
 * <pre>
 * ModelWorker.run(rows -> rows.stream().map(row -> Map.of("y", 2 * (Double) row.get("x"))).collect(toList()));
 * </pre>
 *
 * Rows are maps from feature to value: Double for every number, String, Boolean, List, or null. Needs Java 11 and
 * nothing else. Standard output is free for logs.
 */
public final class ModelWorker {
    /** Answers rows: one map for each, in the same order; null refuses its row. */
    @FunctionalInterface
    public interface Predict {
        List<? extends Map<String, ?>> predict(List<Map<String, Object>> rows) throws Exception;
    }

    /** Answers columns: from each feature to its values, n of them, and so back. */
    @FunctionalInterface
    public interface PredictColumns {
        Map<String, ? extends List<?>> predict(int n, Map<String, List<Object>> columns) throws Exception;
    }

    /** Refuses some rows; the others are asked again without them. Rows count from 0. */
    public static final class RowErrors extends Exception {
        private static final long serialVersionUID = 1L;
        private final transient Map<Integer, String> messages;

        public RowErrors(Map<Integer, String> messages) {
            super(messages.size() + " rows are refused");
            this.messages = new LinkedHashMap<>(messages);
        }
    }

    private static volatile Map<String, Object> params = Map.of();

    private ModelWorker() {}

    /** The model's params, once run has been called. */
    public static Map<String, Object> params() {
        return params;
    }

    /** Answers the agent, row by row, until it has no more requests. */
    public static void run(Predict predict) throws IOException {
        serve("rows", (request, answer) -> answerRows(predict, request, answer));
    }

    /** The same, with columns. */
    public static void runColumns(PredictColumns predict) throws IOException {
        serve("columns", (request, answer) -> {
            int n = ((Double) request.get("n")).intValue();
            Map<String, List<Object>> columns = cast(request.get("columns"));
            answer.put("n", n);
            answer.put("columns", predict.predict(n, columns));
        });
    }

    private interface Call {
        void answer(Map<String, Object> request, Map<String, Object> answer) throws Exception;
    }

    private static void serve(String format, Call call) throws IOException {
        try (InputStream requests = new BufferedInputStream(new FileInputStream("/dev/fd/3"), 1 << 16);
                OutputStream answers = new FileOutputStream("/dev/fd/4")) {
            say(answers, Map.of("ready", true, "protocol", 1, "formats", List.of(format)));
            String line = readLine(requests);
            if (line == null) {
                return;
            }
            Map<String, Object> hello = cast(Json.parse(line));
            if (hello.get("params") != null) {
                params = cast(hello.get("params"));
            }
            while ((line = readLine(requests)) != null) {
                Map<String, Object> request = cast(Json.parse(line));
                say(answers, answer(call, request));
            }
        }
    }

    private static Map<String, Object> answer(Call call, Map<String, Object> request) {
        Map<String, Object> answer = new LinkedHashMap<>();
        long id = ((Double) request.get("id")).longValue();
        answer.put("id", id);
        try {
            call.answer(request, answer);
            return answer;
        } catch (Exception | StackOverflowError | AssertionError | LinkageError e) {
            e.printStackTrace();
            Map<String, Object> failure = new LinkedHashMap<>();
            failure.put("id", id);
            failure.put("error", e.toString() + place(e));
            if (transientFault(e)) {
                failure.put("retry", true);
            }
            return failure;
        }
    }

    private static String place(Throwable e) {
        for (StackTraceElement frame : e.getStackTrace()) {
            String name = frame.getClassName();
            if (!name.startsWith("java.") && !name.startsWith("jdk.") && !name.startsWith("ModelWorker")) {
                return " (" + frame.getFileName() + ":" + frame.getLineNumber() + ")";
            }
        }
        return "";
    }

    private static boolean transientFault(Throwable e) {
        for (Throwable t = e; t != null; t = t.getCause() == t ? null : t.getCause()) {
            if (t instanceof java.net.SocketException || t instanceof java.net.SocketTimeoutException
                    || t instanceof java.net.UnknownHostException || t instanceof java.util.concurrent.TimeoutException
                    || t.getClass().getName().startsWith("java.net.http.HttpTimeout")) {
                return true;
            }
        }
        return false;
    }

    private static void answerRows(Predict predict, Map<String, Object> request, Map<String, Object> answer)
            throws Exception {
        List<Map<String, Object>> rows = cast(request.get("rows"));
        Map<Integer, String> refused = new LinkedHashMap<>();
        List<Object> predictions = new ArrayList<>();
        try {
            predictions.addAll(predict.predict(rows));
        } catch (RowErrors e) {
            refused.putAll(e.messages);
            List<Map<String, Object>> others = new ArrayList<>();
            for (int i = 0; i < rows.size(); i++) {
                if (!refused.containsKey(i)) {
                    others.add(rows.get(i));
                }
            }
            List<? extends Map<String, ?>> rest = others.isEmpty() ? List.of() : predict.predict(others);
            for (int i = 0, next = 0; i < rows.size(); i++) {
                predictions.add(refused.containsKey(i) || next >= rest.size() ? null : rest.get(next++));
            }
        }
        answer.put("predictions", predictions);
        if (!refused.isEmpty()) {
            List<Object> errors = new ArrayList<>();
            refused.forEach((row, message) -> errors.add(Map.of("row", row, "message", String.valueOf(message))));
            answer.put("errors", errors);
        }
    }

    private static void say(OutputStream answers, Map<String, ?> message) throws IOException {
        StringBuilder text = new StringBuilder();
        Json.write(text, message);
        answers.write(text.append('\n').toString().getBytes(StandardCharsets.UTF_8));
        answers.flush();
    }

    private static String readLine(InputStream in) throws IOException {
        ByteArrayOutputStream line = new ByteArrayOutputStream();
        for (int c = in.read(); c != '\n'; c = in.read()) {
            if (c < 0) {
                return null;
            }
            line.write(c);
        }
        return line.toString(StandardCharsets.UTF_8);
    }

    @SuppressWarnings("unchecked")
    private static <T> T cast(Object value) {
        return (T) value;
    }

    /** The little JSON that the protocol needs. The agent writes valid JSON only. */
    private static final class Json {
        private final String text;
        private int at;

        private Json(String text) {
            this.text = text;
        }

        static Object parse(String text) {
            return new Json(text).value();
        }

        private char next() {
            while (Character.isWhitespace(text.charAt(at))) {
                at++;
            }
            return text.charAt(at);
        }

        private Object value() {
            switch (next()) {
                case '{':
                    return object();
                case '[':
                    return array();
                case '"':
                    return string();
                case 't':
                    at += 4;
                    return Boolean.TRUE;
                case 'f':
                    at += 5;
                    return Boolean.FALSE;
                case 'n':
                    at += 4;
                    return null;
                default:
                    int start = at;
                    while (at < text.length() && "+-0123456789.eE".indexOf(text.charAt(at)) >= 0) {
                        at++;
                    }
                    return Double.valueOf(text.substring(start, at));
            }
        }

        private Map<String, Object> object() {
            Map<String, Object> map = new LinkedHashMap<>();
            at++;
            while (next() != '}') {
                if (text.charAt(at) == ',') {
                    at++;
                    next();
                }
                String key = string();
                next();
                at++; // the colon
                map.put(key, value());
            }
            at++;
            return map;
        }

        private List<Object> array() {
            List<Object> list = new ArrayList<>();
            at++;
            while (next() != ']') {
                if (text.charAt(at) == ',') {
                    at++;
                }
                list.add(value());
            }
            at++;
            return list;
        }

        private String string() {
            StringBuilder s = new StringBuilder();
            for (at++; text.charAt(at) != '"'; at++) {
                char c = text.charAt(at);
                if (c != '\\') {
                    s.append(c);
                    continue;
                }
                c = text.charAt(++at);
                int escape = "nrtbf".indexOf(c);
                if (escape >= 0) {
                    s.append("\n\r\t\b\f".charAt(escape));
                } else if (c == 'u') {
                    s.append((char) Integer.parseInt(text.substring(at + 1, at + 5), 16));
                    at += 4;
                } else {
                    s.append(c);
                }
            }
            at++;
            return s.toString();
        }

        static void write(StringBuilder out, Object value) {
            if (value == null || value instanceof Boolean) {
                out.append(value);
            } else if (value instanceof Number) {
                out.append(value); // NaN too: the agent refuses its row
            } else if (value instanceof Map) {
                writeObject(out, (Map<?, ?>) value);
            } else if (value instanceof Iterable) {
                writeArray(out, (Iterable<?>) value);
            } else if (value instanceof double[]) {
                List<Object> list = new ArrayList<>();
                for (double d : (double[]) value) {
                    list.add(d);
                }
                writeArray(out, list);
            } else {
                writeString(out, value.toString());
            }
        }

        private static void writeObject(StringBuilder out, Map<?, ?> map) {
            char separator = '{';
            for (Map.Entry<?, ?> entry : map.entrySet()) {
                out.append(separator);
                separator = ',';
                writeString(out, String.valueOf(entry.getKey()));
                out.append(':');
                write(out, entry.getValue());
            }
            out.append(map.isEmpty() ? "{}" : "}");
        }

        private static void writeArray(StringBuilder out, Iterable<?> list) {
            out.append('[');
            boolean first = true;
            for (Object item : list) {
                if (!first) {
                    out.append(',');
                }
                first = false;
                write(out, item);
            }
            out.append(']');
        }

        private static void writeString(StringBuilder out, String s) {
            out.append('"');
            for (int i = 0; i < s.length(); i++) {
                char c = s.charAt(i);
                if (c == '"' || c == '\\') {
                    out.append('\\').append(c);
                } else if (c < 0x20 || c == 0x2028 || c == 0x2029) {
                    out.append(String.format("\\u%04x", (int) c));
                } else {
                    out.append(c);
                }
            }
            out.append('"');
        }
    }
}
