package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"middletier/internal/config"
)

// defaultConfig is read if no flag names a file, and it exists.
const defaultConfig = "config.yaml"

// configFlag is the flag of all commands that read a configuration.
type configFlag struct {
	Config []string `sep:"none" placeholder:"FILE" help:"A configuration file: YAML, or JSON such as appsettings.json. May be repeated: later files are laid over earlier ones, and the environment over all. Default: config.yaml, if there is one."`
}

// files returns the files to read.
func (c configFlag) files() []string {
	if len(c.Config) > 0 {
		return c.Config
	}
	if _, err := os.Stat(defaultConfig); err != nil {
		return nil // the environment alone may be enough
	}
	return []string{defaultConfig}
}

// String names where the configuration is from.
func (c configFlag) String() string {
	if files := c.files(); len(files) > 0 {
		return strings.Join(files, ", ")
	}
	return "the environment"
}

// load reads the configuration and checks it, with more checks if any are given. The
// error names every mistake.
func (c configFlag) load(environ []string, more ...func(file, report)) (file, document, error) {
	files := c.files()
	f, doc, err := loadDocument(files, environ, more...)
	if err != nil {
		if len(files) == 0 {
			err = fmt.Errorf("%w\nOnly the environment was read: there is no %s here, and --config names no other file", err, defaultConfig)
		}
		return f, doc, err
	}
	warnMissingOverlay(doc.Document, files, environ)
	f.warn(doc.Warn)
	return f, doc, nil
}

// warnMissingOverlay warns about a file that .NET would lay over an appsettings.json in
// this environment, if it exists and is not read.
func warnMissingOverlay(doc *config.Document, files, environ []string) {
	variables := environment(environ)
	for _, variable := range []string{"ASPNETCORE_ENVIRONMENT", "DOTNET_ENVIRONMENT"} {
		name := variables[variable]
		if name == "" || strings.ContainsAny(name, `/\`) {
			continue
		}
		for _, path := range files {
			if !strings.EqualFold(filepath.Base(path), "appsettings.json") {
				continue
			}
			overlay := strings.TrimSuffix(path, filepath.Ext(path)) + "." + name + filepath.Ext(path)
			isOverlay := func(given string) bool { return filepath.Clean(given) == filepath.Clean(overlay) }
			if _, err := os.Stat(overlay); err != nil || slices.ContainsFunc(files, isOverlay) {
				continue
			}
			doc.Warn(variable, fmt.Sprintf("is %s, but %s is not read; to read it, add --config %s", name, overlay, overlay))
		}
		return // ASP.NET takes the first
	}
}

// printWarnings prints the warnings of a configuration, a line each.
func printWarnings(w io.Writer, doc document) {
	if warnings := doc.Warnings(); len(warnings) > 0 {
		fmt.Fprintln(w, warnings)
	}
}

// logWarnings logs the warnings of a configuration.
func logWarnings(log *slog.Logger, doc document) {
	for _, w := range doc.Warnings() {
		attrs := []any{"key", w.Key}
		if w.Where != "" {
			attrs = append(attrs, "where", w.Where)
		}
		log.Warn(strings.TrimPrefix(w.Problem, "warning: "), attrs...)
	}
}
