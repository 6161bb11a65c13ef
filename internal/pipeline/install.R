# Installs packages of R in the versions that a lock file names, from
# repositories such as CRAN; run by BuildKit, in a base image with compilers.
# Arguments: a folder with the files packages, a name and a version a line, and
# repositories, a URL a line; the library to install into.

arguments <- commandArgs(TRUE)
build <- arguments[1]
library <- arguments[2]
asked <- read.table(file.path(build, "packages"), col.names = c("name", "version"), colClasses = "character")
repositories <- sub("/+$", "", readLines(file.path(build, "repositories")))
platform <- R.version[c("platform", "arch", "os")]
options(
  timeout = 600, Ncpus = max(1L, parallel::detectCores(), na.rm = TRUE),
  # Repositories with binaries for Linux choose by it.
  HTTPUserAgent = sprintf("R/%s R (%s)", getRversion(), paste(c(as.character(getRversion()), unlist(platform)), collapse = " "))
)

# All that is asked for is put into a repository of its own, from which R
# installs in the right order, and nothing else.
here <- file.path(build, "src", "contrib")
dir.create(here, recursive = TRUE)
dir.create(library, recursive = TRUE)

fetch <- function(name, version) {
  file <- sprintf("%s_%s.tar.gz", name, version)
  reasons <- character()
  reason <- function(condition) reasons <<- c(reasons, conditionMessage(condition))
  for (repository in repositories) {
    for (path in c(file, file.path("Archive", name, file))) {
      url <- file.path(repository, "src", "contrib", path)
      status <- tryCatch(
        withCallingHandlers(
          download.file(url, file.path(here, file), quiet = TRUE, mode = "wb"),
          warning = function(w) {
            reason(w)
            invokeRestart("muffleWarning")
          }
        ),
        error = function(e) {
          reason(e)
          1L
        }
      )
      if (status == 0L) {
        return(invisible())
      }
    }
  }
  stop(sprintf("no repository of renv.lock has %s %s:\n%s", name, version, paste(unique(reasons), collapse = "\n")), call. = FALSE)
}

for (i in seq_len(nrow(asked))) {
  cat(sprintf("fetching %s %s\n", asked$name[i], asked$version[i]))
  fetch(asked$name[i], asked$version[i])
}
tools::write_PACKAGES(here, type = "source")
.libPaths(c(library, .libPaths()))
install.packages(asked$name, lib = library, repos = paste0("file://", build), type = "source")

# A package that can't be installed is only a warning to R.
installed <- installed.packages(lib.loc = library)
there <- installed[match(asked$name, installed[, "Package"]), "Version"]
missing <- is.na(there) | there != asked$version
if (any(missing)) {
  stop("these packages can't be installed: ", paste(asked$name[missing], asked$version[missing], collapse = ", "), call. = FALSE)
}
