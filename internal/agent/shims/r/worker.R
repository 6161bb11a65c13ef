# Runs an R model for Model Manager's agent.
#
#     Rscript worker.R FILE FUNCTION
#
# loads FILE and answers the agent's requests (file descriptors 3 and 4) with
# FUNCTION(rows) or FUNCTION(rows, params). rows is a data.frame whose column
# types come from the model's features alone. Needs jsonlite and nothing else.

local({
  arguments <- commandArgs(trailingOnly = TRUE)
  path <- arguments[[1L]]
  name <- arguments[[2L]]

  requests <- fifo("/dev/fd/3", open = "rb", blocking = TRUE)
  answers <- fifo("/dev/fd/4", open = "wb", blocking = TRUE)

  # ---- lines of JSON

  # Requests are read in blocks: readLines on a pipe waits for a full block.
  pending <- raw(0)
  newline <- as.raw(10L)

  read_line <- function() {
    parts <- list()
    repeat {
      at <- match(newline, pending)
      if (!is.na(at)) {
        head <- pending[seq_len(at - 1L)]
        pending <<- pending[-seq_len(at)]
        text <- rawToChar(do.call(c, c(parts, list(head))))
        Encoding(text) <- "UTF-8"
        return(text)
      }
      parts[[length(parts) + 1L]] <- pending
      pending <<- raw(0)
      block <- readBin(requests, "raw", n = 65536L)
      if (length(block) == 0L) return(NULL)
      pending <<- block
    }
  }

  say <- function(text) {
    writeBin(c(charToRaw(enc2utf8(text)), newline), answers)
    flush(answers)
  }

  quote_json <- function(x) as.character(jsonlite::toJSON(x, auto_unbox = TRUE))

  one_line <- function(text) gsub("[[:space:]]+", " ", trimws(paste(text, collapse = " ")))

  reason_of <- function(condition) {
    call <- conditionCall(condition)
    where <- if (is.null(call)) "" else paste0("in ", one_line(deparse(call, nlines = 1L)[[1L]]), ": ")
    one_line(paste0("Error ", where, conditionMessage(condition)))
  }

  # ---- rows in

  can_be_null <- function(field) {
    isTRUE(field$nullable) || identical(field$unknown, "null") ||
      ("default" %in% names(field) && is.null(field$default))
  }

  kind_of <- function(field) {
    if (identical(field$type, "string") && isTRUE(field$format %in% c("date", "date-time"))) field$format
    else field$type
  }

  has_levels <- function(field) {
    length(field$enum) > 0L && !identical(field$type, "boolean") && !identical(field$unknown, "accept")
  }

  # A list of scalars and NULLs as an atomic vector, NULL as NA.
  flatten <- function(values, missing) {
    absent <- vapply(values, is.null, logical(1L))
    values[absent] <- missing
    unlist(values, use.names = FALSE)
  }

  parse_time <- function(text) {
    text <- sub("[zZ]$", "+00:00", sub("t", "T", text, fixed = TRUE))
    seconds <- as.POSIXct(sub("([+-][0-9]{2}):?([0-9]{2})$", "\\1\\2", text), format = "%Y-%m-%dT%H:%M:%OS%z", tz = "UTC")
    attr(seconds, "tzone") <- "UTC"
    seconds
  }

  to_column <- function(field, values) {
    n <- length(values)
    kind <- kind_of(field)
    if (has_levels(field)) {
      text <- vapply(values, function(v) if (is.null(v)) NA_character_ else as.character(v), character(1L))
      return(factor(text, levels = vapply(field$enum, as.character, character(1L))))
    }
    if (kind == "array") return(I(lapply(values, function(v) {
      if (is.null(v)) NULL else to_column(field$items, as.list(v))
    })))
    switch(kind,
      boolean = as.logical(flatten(values, NA)),
      integer = {
        v <- as.numeric(flatten(values, NA_real_))
        small <- !can_be_null(field) && !identical(field$format, "int64") &&
          !is.null(field$minimum) && !is.null(field$maximum) &&
          field$minimum >= -.Machine$integer.max && field$maximum <= .Machine$integer.max
        if (small) as.integer(v) else v
      },
      number = as.numeric(flatten(values, NA_real_)),
      date = as.Date(as.character(flatten(values, NA_character_)), format = "%Y-%m-%d"),
      `date-time` = parse_time(as.character(flatten(values, NA_character_))),
      as.character(flatten(values, NA_character_)))
  }

  to_frame <- function(features, n, columns) {
    data <- lapply(features, function(field) to_column(field, columns[[field$name]]))
    names(data) <- vapply(features, function(field) field$name, character(1L))
    structure(data, class = "data.frame", row.names = .set_row_names(n))
  }

  # ---- answers out

  # What the function returned, as a named list with one vector a prediction.
  to_columns <- function(result, fields, n) {
    names_wanted <- vapply(fields, function(field) field$name, character(1L))
    count <- length(fields)
    misfit <- function(width) {
      hint <- if (width == 2L && count == 1L) "type = \"prob\"? take [, 2]"
      else paste("return a data.frame with the columns", paste(names_wanted, collapse = ", "))
      stop(sprintf("predict returned %d columns for %d predictions: %s", width, count, hint), call. = FALSE)
    }
    if (is.null(result)) stop("the function returned NULL; it must return predictions for its rows", call. = FALSE)
    by_row <- is.list(result) && !is.data.frame(result) && is.null(names(result)) && n > 0L && are_rows(result)
    if (by_row) result <- from_rows(result)
    if (is_labelled(result, fields)) result <- as.matrix(result)
    if (is.data.frame(result)) {
      if (nrow(result) != n) wrong_count(nrow(result), n)
      twice <- anyDuplicated(names(result))
      if (twice) stop(sprintf("predict returned two columns named %s", names(result)[[twice]]), call. = FALSE)
      order <- order_of(attr(result, "row.names"), n)
      return(lapply(as.list(result), function(column) if (is.null(order)) column else column[order]))
    }
    if (is.matrix(result)) {
      if (nrow(result) != n) wrong_count(nrow(result), n)
      order <- order_of(rownames(result), n)
      if (!is.null(order)) result <- result[order, , drop = FALSE]
      headers <- colnames(result)
      if (count == 1L && fields[[1L]]$type == "array") {
        result <- by_label(result, fields[[1L]])
        return(structure(list(lapply(seq_len(n), function(i) unname(result[i, ]))), names = names_wanted))
      }
      if (!is.null(headers) && any(names_wanted %in% headers)) {
        twice <- anyDuplicated(headers)
        if (twice) stop(sprintf("predict returned two columns named %s", headers[[twice]]), call. = FALSE)
        return(structure(lapply(seq_along(headers), function(i) unname(result[, i])), names = headers))
      }
      if (ncol(result) != count) misfit(ncol(result))
      if (count > 1L && !is.null(headers)) {
        stop(sprintf("predict returned a matrix with the columns %s, none of which is a prediction; name them %s, or return unname(…) to fill these in order",
          paste(headers, collapse = ", "), paste(names_wanted, collapse = ", ")), call. = FALSE)
      }
      return(structure(lapply(seq_len(count), function(i) unname(result[, i])), names = names_wanted))
    }
    if (is.list(result) && (by_row || any(names_wanted %in% names(result)))) {
      twice <- anyDuplicated(names(result))
      if (twice) stop(sprintf("predict returned two columns named %s", names(result)[[twice]]), call. = FALSE)
      for (column in result) if (length(column) != n) wrong_count(length(column), n)
      return(lapply(result, aligned, n = n))
    }
    if (count != 1L) misfit(1L)
    if (length(result) != n) wrong_count(length(result), n)
    structure(list(aligned(result, n)), names = names_wanted)
  }

  # Whether a list has one named list for each row, and how to make columns of it.
  are_rows <- function(rows) {
    keys <- if (length(rows) > 0L) names(rows[[1L]])
    !is.null(keys) && all(vapply(rows, function(row) {
      is.list(row) && length(row) == length(keys) && setequal(names(row), keys)
    }, logical(1L)))
  }

  from_rows <- function(rows) {
    keys <- names(rows[[1L]])
    structure(lapply(keys, function(key) lapply(rows, function(row) row[[key]])), names = keys)
  }

  # How to put answers that are named by their rows' numbers into the order of
  # the rows: NULL if they are in it, or have no such names.
  order_of <- function(labels, n) {
    if (is.null(labels) || length(labels) != n) return(NULL)
    numbers <- suppressWarnings(as.integer(labels))
    if (anyNA(numbers) || identical(numbers, seq_len(n))) return(NULL)
    if (!setequal(numbers, seq_len(n))) {
      stop("the row names of what was returned are not those of rows, so that predictions can't be told apart; keep them, or return unname(…)", call. = FALSE)
    }
    order(numbers)
  }

  # A vector in the order of the rows.
  aligned <- function(values, n) {
    order <- order_of(names(values), n)
    unname(if (is.null(order)) values else values[order])
  }

  # Whether a data.frame has the items of the only prediction, an array, as columns.
  is_labelled <- function(result, fields) {
    is.data.frame(result) && length(fields) == 1L && fields[[1L]]$type == "array" &&
      !(fields[[1L]]$name %in% names(result)) && length(fields[[1L]]$labels) > 0L && setequal(names(result), unlist(fields[[1L]]$labels))
  }

  # A matrix, or one row's vector, with its items in the order of an array's labels.
  by_label <- function(items, field) {
    given <- if (is.matrix(items)) colnames(items) else names(items)
    labels <- unlist(field$labels)
    if (is.null(given) || is.null(labels) || identical(given, labels)) return(items)
    if (length(given) != length(labels) || !setequal(given, labels)) {
      stop(sprintf("the items of %s are named %s, and the labels are %s; name them alike, or return unname(…) to fill them in order",
        field$name, paste(given, collapse = ", "), paste(labels, collapse = ", ")), call. = FALSE)
    }
    if (is.matrix(items)) items[, labels, drop = FALSE] else items[labels]
  }

  wrong_count <- function(got, n) {
    stop(sprintf("the function returned %d predictions for %d rows; it must return one for each", got, n), call. = FALSE)
  }

  # One column as JSON values, written out.
  written <- function(values, field) {
    if (is.factor(values)) {
      values <- as.character(values)
      if (isTRUE(field$type %in% c("integer", "number"))) values <- as_numbers(values)
    }
    if (inherits(values, "Date")) values <- four_digits(format(values, "%Y-%m-%d"))
    if (inherits(values, "POSIXt")) values <- time_text(as.POSIXct(values))
    if (is.list(values)) {
      cells <- vapply(values, function(v) {
        if (is.null(v)) "null"
        else if (identical(field$type, "array")) paste0("[", paste(written(by_label(v, field), field$items), collapse = ","), "]")
        else if (length(v) == 1L) written(v, field)
        else stop(sprintf("the prediction %s has a row with %d values", field$name, length(v)), call. = FALSE)
      }, character(1L))
      return(cells)
    }
    if (is.logical(values)) cells <- ifelse(values, "true", "false")
    else if (is.numeric(values)) {
      if (identical(field$format, "int64")) cells <- sprintf("\"%s\"", digits_text(values)) # of none nothing, unlike paste0
      else cells <- number_text(values)
      if (!can_be_null(field)) cells[is.nan(values)] <- "NaN"
      cells[is.infinite(values)] <- ifelse(values[is.infinite(values)] > 0, "Infinity", "-Infinity")
    }
    else if (is.character(values)) cells <- vapply(values, quote_json, character(1L), USE.NAMES = FALSE)
    else stop(sprintf("the prediction %s is a %s, which is no JSON value", field$name, class(values)[[1L]]), call. = FALSE)
    cells[is.na(values) & !(is.numeric(values) & is.nan(values) & !can_be_null(field))] <- "null"
    cells
  }

  # Levels of numbers as numbers; as they are, where one is none.
  as_numbers <- function(text) {
    numbers <- suppressWarnings(as.numeric(text))
    if (any(is.na(numbers) & !is.na(text))) text else numbers
  }

  # Dates with their years in four digits, which R writes without zeros before them.
  four_digits <- function(text) {
    year <- regexpr("-", text, fixed = TRUE) - 1L
    short <- !is.na(text) & year < 4L
    text[short] <- paste0(strrep("0", 4L - year[short]), text[short])
    text
  }

  # Instants to the nearest microsecond: %OS6 cuts off, and seconds are doubles.
  time_text <- function(times) {
    micros <- round(as.numeric(times) * 1e6)
    seconds <- floor(micros / 1e6)
    text <- paste0(four_digits(format(as.POSIXct(seconds, origin = "1970-01-01", tz = "UTC"), "%Y-%m-%dT%H:%M:%S")),
      sprintf(".%06.0fZ", micros - seconds * 1e6))
    text[is.na(times)] <- NA_character_
    text
  }

  # Integers in digits alone, never as 1e+18; what is none stays to be refused.
  digits_text <- function(values) {
    whole <- is.finite(values) & values == round(values)
    text <- number_text(values)
    text[whole] <- sprintf("%.0f", values[whole])
    text
  }

  # Doubles in the fewest digits that give the same double again.
  number_text <- function(values) {
    if (is.integer(values)) return(sprintf("%d", values))
    text <- sprintf("%.15g", values)
    inexact <- is.finite(values) & as.numeric(text) != values
    text[inexact] <- sprintf("%.17g", values[inexact])
    text
  }

  # Of each value of a feature, or of each array of them, the first 64-bit
  # integer that no double of R is, in digits; else NA.
  inexact_in <- function(field, values) {
    if (identical(field$type, "array")) {
      return(vapply(values, function(items) {
        lost <- inexact_in(field$items, as.list(items))
        lost[!is.na(lost)][1L]
      }, character(1L)))
    }
    text <- vapply(values, function(v) if (is.null(v)) NA_character_ else as.character(v), character(1L))
    text[is.na(text) | sprintf("%.0f", as.numeric(text)) == text] <- NA_character_
    text
  }

  # Rows with an integer that no double of R is: why they are refused, else NA.
  # A prediction of another number than the row's would be silently wrong.
  inexact_rows <- function(features, n, columns) {
    reasons <- rep(NA_character_, n)
    for (field in features) {
      is_array <- identical(field$type, "array")
      if (!identical(if (is_array) field$items$format else field$format, "int64")) next
      text <- inexact_in(field, columns[[field$name]])
      lost <- !is.na(text)
      reasons[lost] <- sprintf("%s: R can't hold %s exactly, its numbers are doubles; make %s", field$name, text[lost],
        if (is_array) "the feature's items strings" else "the feature a string")
    }
    reasons
  }

  answer <- function(request, features, fields, params) {
    n <- request$n
    inexact <- inexact_rows(features, n, request$columns)
    keep <- which(is.na(inexact))
    rows <- to_frame(features, n, request$columns)
    if (length(keep) < n) rows <- structure(rows[keep, , drop = FALSE], row.names = .set_row_names(length(keep)))
    refused <- list()
    columns <- structure(rep(list(rep(NA, n)), length(fields)), names = vapply(fields, function(field) field$name, character(1L)))
    if (length(keep) > 0L || n == 0L) {
      result <- if (takes_params) model(rows, params) else model(rows)
      refused <- attr(result, "refused")
      if (length(refused) > 0L) names(refused) <- keep[as.integer(names(refused))]
      columns <- to_columns(result, fields, length(keep))
      if (length(keep) < n) columns <- lapply(columns, function(values) values[match(seq_len(n), keep)])
    }
    if (length(keep) < n) refused <- c(as.list(refused), structure(as.list(inexact[is.na(match(seq_len(n), keep))]), names = which(is.na(match(seq_len(n), keep)))))
    by_name <- structure(fields, names = vapply(fields, function(field) field$name, character(1L)))
    parts <- vapply(names(columns), function(k) {
      field <- by_name[[k]]
      if (is.null(field)) field <- list(name = k, type = "")
      paste0(quote_json(k), ":[", paste(written(columns[[k]], field), collapse = ","), "]")
    }, character(1L))
    errors <- ""
    if (length(refused) > 0L) {
      entries <- sprintf("{\"row\":%d,\"message\":%s}", as.integer(names(refused)) - 1L,
        vapply(unlist(refused), quote_json, character(1L)))
      errors <- paste0(",\"errors\":[", paste(entries, collapse = ","), "]")
    }
    sprintf("{\"id\":%s,\"n\":%d,\"columns\":{%s}%s}", request$id_text, n, paste(parts, collapse = ","), errors)
  }

  # Whether a condition speaks of a connection or a time-out, not of the rows:
  # by its class, that of what it came from, or the words of base R and libcurl,
  # whose conditions have no classes.
  is_transient <- function(condition) {
    for (depth in 1:10) {
      if (!inherits(condition, "condition")) return(FALSE)
      if (any(grepl("^(connection_?error|timeout_?error|timeoutexception|httr2_failure|httr2_timeout|callr_timeout_error|curl_error_(couldnt_.*|operation_timed.*|send_error|recv_error|got_nothing|partial_file))$",
        class(condition), ignore.case = TRUE))) return(TRUE)
      if (grepl("cannot open the connection to '(https?|ftp)|connection (was )?(refused|reset|timed out)|failed to connect|couldn't connect|could not connect to server|could not resolve host|timeout was reached|operation timed out|server closed the connection|temporarily unavailable",
        conditionMessage(condition), ignore.case = TRUE)) return(TRUE)
      called <- conditionCall(condition)
      if (is.call(called) && identical(called[[1L]], quote(socketConnection))) return(TRUE)
      condition <- condition$parent
    }
    FALSE
  }

  # ---- loading

  model <- NULL
  takes_params <- FALSE
  fault <- tryCatch({
    if (!requireNamespace("jsonlite", quietly = TRUE)) stop("there is no package called 'jsonlite'", call. = FALSE)
    source(path, local = globalenv(), chdir = FALSE)
    if (!exists(name, envir = globalenv(), mode = "function", inherits = FALSE)) {
      near <- agrep(name, ls(globalenv()), value = TRUE)
      hint <- if (length(near) > 0L) paste0("; did you mean ", near[[1L]], "?") else ""
      stop(paste0("there is no function ", name, " in it", hint), call. = FALSE)
    }
    model <- get(name, envir = globalenv(), mode = "function")
    parameters <- names(formals(args(model)))
    takes_params <- "params" %in% parameters || (length(parameters) >= 2L && !("..." %in% parameters) &&
      is.symbol(formals(args(model))[[2L]]) && identical(as.character(formals(args(model))[[2L]]), ""))
    NULL
  }, error = function(e) reason_of(e))
  if (!is.null(fault)) {
    message(fault)
    reason <- paste0(path, " failed to load: ", fault)
    escaped <- gsub("\"", "\\\"", gsub("\\", "\\\\", reason, fixed = TRUE), fixed = TRUE)
    say(paste0("{\"error\":\"", escaped, "\"}"))
    quit(save = "no", status = 1L)
  }
  say("{\"ready\":true,\"protocol\":1,\"formats\":[\"columns\"]}")

  # ---- serving

  parse <- function(line) jsonlite::parse_json(line, simplifyVector = FALSE)
  line <- read_line()
  if (is.null(line)) quit(save = "no", status = 0L)
  hello <- parse(line)
  params <- jsonlite::fromJSON(jsonlite::toJSON(hello$params, auto_unbox = TRUE, null = "null", digits = NA))

  repeat {
    line <- read_line()
    if (is.null(line)) break
    request <- parse(line)
    request$id_text <- sprintf("%.0f", request$id)
    text <- tryCatch(
      answer(request, hello$features, hello$predictions, params),
      error = function(e) {
        reason <- reason_of(e)
        message(reason)
        retry <- if (is_transient(e)) ",\"retry\":true" else ""
        sprintf("{\"id\":%s,\"error\":%s%s}", request$id_text, quote_json(reason), retry)
      })
    say(text)
  }
  quit(save = "no", status = 0L)
})
