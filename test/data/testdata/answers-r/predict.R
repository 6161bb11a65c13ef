# Answers in the way that the rows ask for: some right, some wrong.

predict <- function(rows) {
  x <- rows$x
  frame <- data.frame(p = x)
  labelled <- data.frame(p = x, label = factor(ifelse(x < 0.5, "a", "b")))
  switch(rows$how[[1L]],
    frame = frame,
    array = x,
    list = list(p = x),
    permuted = frame[order(-frame$p), , drop = FALSE],
    foreign = structure(frame, row.names = seq_len(nrow(frame)) + 100L),
    proba = cbind(1 - x, x),
    wide = cbind(x, x, x),
    few = x[-1L],
    many = c(x, 0.5),
    fewer = frame[-1L, , drop = FALSE],
    nan = ifelse(x < 0.8, x, NaN),
    beyond = x * 8,
    text = rep("high", length(x)),
    name = data.frame(pp = x),
    extra = data.frame(p = x, q = 1),
    nothing = NULL,
    labelled = labelled,
    turned = labelled[, c("label", "p")],
    level = transform(labelled, label = "c"),
    half = frame)
}
