import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;

/**
 * Speaks the worker protocol: requests come on file descriptor 3, answers go to
 * 4, one JSON object a line, until there are no more.
 */
final class Worker {
    private Worker() {}

    static void serve(Function<Map<String, Object>, Map<String, Object>> predict) throws IOException {
        try (BufferedReader requests = new BufferedReader(
                        new InputStreamReader(new FileInputStream("/dev/fd/3"), StandardCharsets.UTF_8));
                BufferedWriter answers = new BufferedWriter(
                        new OutputStreamWriter(new FileOutputStream("/dev/fd/4"), StandardCharsets.UTF_8))) {
            say(answers, Map.of("ready", true, "protocol", 1, "formats", List.of("rows")));
            requests.readLine(); // the schema; the model knows its own features
            for (String line = requests.readLine(); line != null; line = requests.readLine()) {
                say(answers, answer(line, predict));
            }
        }
    }

    private static void say(BufferedWriter answers, Object value) throws IOException {
        answers.write(Json.write(value));
        answers.write('\n');
        answers.flush();
    }

    private static Map<String, Object> answer(String line, Function<Map<String, Object>, Map<String, Object>> predict) {
        Map<String, Object> request = asObject(Json.read(line));
        List<Object> predictions = new ArrayList<>();
        List<Object> errors = new ArrayList<>();
        for (Object row : (List<?>) request.get("rows")) {
            try {
                predictions.add(predict.apply(asObject(row)));
            } catch (RuntimeException e) {
                errors.add(Map.of("row", predictions.size(), "message", String.valueOf(e)));
                predictions.add(null);
            }
        }
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put("id", request.get("id"));
        answer.put("predictions", predictions);
        if (!errors.isEmpty()) {
            answer.put("errors", errors);
        }
        return answer;
    }

    @SuppressWarnings("unchecked") // Json makes objects with string keys alone
    private static Map<String, Object> asObject(Object value) {
        return (Map<String, Object>) value;
    }
}
