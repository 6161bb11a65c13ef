model <- readRDS("model.rds")

predict <- function(rows) {
  answer <- stats::predict(model, rows, interval = "prediction", level = 0.9)
  data.frame(litres = answer[, "fit"], low = answer[, "lwr"], high = answer[, "upr"])
}
