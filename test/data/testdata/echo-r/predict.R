# Says of every feature which column it came in and which value it had.

value <- function(v) {
  if (is.list(v)) {
    return(vapply(v, function(item) {
      if (is.null(item)) "NA" else paste0("[", paste(value(item), collapse = ","), "]")
    }, character(1L)))
  }
  text <- if (is.factor(v)) as.character(v)
  else if (is.logical(v)) tolower(as.character(v))
  else if (inherits(v, "Date")) gsub(" ", "0", sprintf("%10s", format(v, "%Y-%m-%d")))
  else if (inherits(v, "POSIXct")) sprintf("%.0f", as.numeric(v) * 1e6)
  else if (is.numeric(v)) sprintf("%.17g", v)
  else v
  ifelse(is.na(v), "NA", paste0("=", text))
}

kind <- function(column) {
  if (is.factor(column)) paste0("factor[", paste(levels(column), collapse = ","), "]")
  else if (inherits(column, "AsIs")) "list"
  else class(column)[[1L]]
}

predict <- function(rows) {
  answer <- list()
  for (name in names(rows)) {
    answer[[paste0("saw_", name)]] <- paste0(kind(rows[[name]]), "|", value(rows[[name]]))
    answer[[paste0("back_", name)]] <- rows[[name]]
  }
  answer
}
