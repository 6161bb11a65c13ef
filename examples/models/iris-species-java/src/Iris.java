import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/** Names the species of an iris by the coefficients that train.py wrote. */
public final class Iris {
    private final List<String> features;
    private final List<String> species = new ArrayList<>();
    private final List<double[]> weights = new ArrayList<>(); // by species: intercept, then features

    Iris(Path coefficients) throws IOException {
        List<String> lines = Files.readAllLines(coefficients, StandardCharsets.UTF_8);
        String[] header = lines.get(0).split(",");
        features = Arrays.asList(header).subList(2, header.length);
        for (String line : lines.subList(1, lines.size())) {
            String[] cells = line.split(",");
            species.add(cells[0]);
            weights.add(Arrays.stream(cells, 1, cells.length).mapToDouble(Double::parseDouble).toArray());
        }
    }

    /** Answers a row: the most probable species, and the probability of each. */
    Map<String, Object> predict(Map<String, Object> row) {
        double[] score = new double[species.size()];
        int best = 0;
        for (int k = 0; k < score.length; k++) {
            double[] w = weights.get(k);
            score[k] = w[0];
            for (int i = 0; i < features.size(); i++) {
                score[k] += w[i + 1] * (Double) row.get(features.get(i));
            }
            if (score[k] > score[best]) {
                best = k;
            }
        }
        double sum = 0;
        for (double s : score) {
            sum += Math.exp(s - score[best]);
        }
        List<Object> probability = new ArrayList<>();
        for (double s : score) {
            probability.add(Math.exp(s - score[best]) / sum);
        }
        Map<String, Object> prediction = new LinkedHashMap<>();
        prediction.put("species", species.get(best));
        prediction.put("probability", probability);
        return prediction;
    }

    public static void main(String[] args) throws IOException {
        Iris model = new Iris(Path.of("coefficients.csv"));
        ModelWorker.run(rows -> rows.stream().map(model::predict).collect(Collectors.toList()));
    }
}
