# Trains model.rds on mtcars, which ships with R:  Rscript train.R
options(digits = 6)

cars <- with(mtcars, data.frame(
  consumption  = 235.214583 / mpg,      # litres in 100 km
  weight       = wt * 453.59237,        # kg
  horsepower   = hp,
  cylinders    = factor(cyl, levels = c(4, 6, 8)),
  transmission = factor(am, levels = c(0, 1), labels = c("automatic", "manual")),
  row.names    = rownames(mtcars)
))

formula <- consumption ~ weight + horsepower + cylinders + transmission
model <- lm(formula, cars, model = FALSE)

# Each car predicted by a model that has not seen it.
left_out <- vapply(seq_len(nrow(cars)), function(i) {
  unname(predict(lm(formula, cars[-i, ]), cars[i, ]))
}, numeric(1))

# What prediction does not need, and what would drag this session along.
for (part in c("fitted.values", "effects")) model[[part]] <- NULL
attr(model$terms, ".Environment") <- baseenv()
saveRDS(model, "model.rds")

cat("rows:", nrow(cars), "\n")
cat("r_squared:", summary(lm(formula, cars))$r.squared, "\n")
cat("mean_absolute_error, each car left out:", mean(abs(left_out - cars$consumption)), "\n")
some <- c("Mazda RX4", "Toyota Corolla", "Cadillac Fleetwood")
print(cbind(cars[some, ], predict(model, cars[some, ], interval = "prediction", level = 0.9)))
