package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"middletier/internal/config"
	"middletier/internal/migrate"
)

// importCommand turns the configuration of another program into config.yaml.
type importCommand struct {
	File string `arg:"" help:"The file: an appsettings.json, the .env of a daemon for Node, or the parameters.json of a daemon for Python."`
	Out  string `help:"The file to write, with secrets in files beside it; - for standard output, without secrets. Files that exist are not overwritten." default:"config.yaml" placeholder:"FILE"`
}

func (c importCommand) run(_ context.Context, std streams) error {
	text, err := readUpTo(c.File, 1<<20)
	if err != nil {
		return err
	}
	result, err := c.migrate(text)
	if err != nil {
		return prefixLines(c.File+": ", err)
	}
	if err := c.verify(result); err != nil {
		return err
	}
	if c.Out == "-" {
		for _, f := range result.Files {
			result.Config = strings.TrimRight(result.Config, "\n") + fmt.Sprintf("\n\n# %s is not written: put %s there.\n", f.Path, f.What)
		}
		_, err := io.WriteString(std.out, result.Config)
		return err
	}
	files := append(result.Files, migrate.File{Path: c.Out, Content: []byte(result.Config), What: "the configuration"})
	if err := createAll(files, len(result.Files)); err != nil {
		return err
	}
	for _, f := range files {
		fmt.Fprintf(std.out, "%s: %s\n", f.Path, f.What)
	}
	for _, note := range result.Notes {
		fmt.Fprintln(std.err, "not carried over, or different here:", note)
	}
	_, err = fmt.Fprintf(std.out, "Next: middletier check --config %s\n", c.Out)
	return err
}

// migrate reads the file in its form.
func (c importCommand) migrate(text []byte) (migrate.Result, error) {
	switch migrate.FormOf(c.File, text) {
	case migrate.DotEnv:
		return migrate.FromDotEnv(c.File, text, c.beside)
	case migrate.ParametersJSON:
		return migrate.FromParameters(c.File, text, c.beside)
	case migrate.AppSettings:
		return c.appSettings(text)
	}
	return migrate.Result{}, errUnknownForm
}

var errUnknownForm = errors.New("is neither an appsettings.json, nor a .env, nor a parameters.json")

// appSettings reads an appsettings.json as serve does, without the environment.
func (c importCommand) appSettings(text []byte) (migrate.Result, error) {
	f, name := defaults(), c.File
	if !strings.EqualFold(filepath.Ext(name), ".json") {
		name = "appsettings.json"
	}
	doc, err := config.Parse(name, text, input(nil, nil), &f)
	if err != nil {
		return migrate.Result{}, err
	}
	unsupported := doc.TakeUnsupported()
	if err := doc.Err(); err != nil {
		if !doc.Has("azureAd") && !doc.Has("downstreamApis") {
			err = errUnknownForm // such as a package.json
		}
		return migrate.Result{}, err
	}
	var notes []string
	for _, m := range append(doc.Warnings(), unsupported...) {
		notes = append(notes, m.Key+": "+strings.TrimPrefix(m.Problem, "warning: "))
	}
	return migrate.FromTree(c.File, doc.Tree(), notes, c.beside), nil
}

// beside returns the path of a file beside the one to write.
func (c importCommand) beside(name string) string {
	if c.Out == "-" {
		return name
	}
	return filepath.ToSlash(filepath.Join(filepath.Dir(c.Out), name))
}

// verify checks the configuration as check does.
func (c importCommand) verify(result migrate.Result) error {
	f := defaults()
	doc, err := config.Parse("config.yaml", []byte(result.Config), input(nil, nil), &f)
	if err == nil {
		f.resolve()
		f.check(doc.Report)
		err = doc.Err()
	}
	if err != nil {
		err = withoutPlaces(err)
		for _, note := range result.Notes {
			err = fmt.Errorf("%w\nnot carried over: %s", err, note)
		}
		return fmt.Errorf("%s: what it holds makes no configuration, and nothing is written:\n%w", c.File, err)
	}
	return nil
}

// withoutPlaces leaves out of mistakes where they are: in a file that is not written.
func withoutPlaces(err error) error {
	mistakes, ok := errors.AsType[config.Mistakes](err)
	if !ok {
		return err
	}
	mistakes = slices.Clone(mistakes)
	for i := range mistakes {
		mistakes[i].Where = ""
	}
	return mistakes
}

// createAll creates files, of which only the owner may read the first ones, with secrets.
// If one exists or cannot be written, none is left.
func createAll(files []migrate.File, secrets int) (err error) {
	for _, f := range files {
		if _, err := os.Lstat(f.Path); err == nil {
			return fmt.Errorf("%s exists already; nothing is written", f.Path)
		}
	}
	var created []string
	defer func() {
		if err != nil {
			for _, path := range created {
				_ = os.Remove(path)
			}
			err = fmt.Errorf("%w; nothing is written", err)
		}
	}()
	for i, f := range files {
		mode := fs.FileMode(0o600)
		if i >= secrets {
			mode = 0o644
		}
		out, err := os.OpenFile(f.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s exists already", f.Path)
		}
		if err != nil {
			return err
		}
		created = append(created, f.Path)
		_, err = out.Write(f.Content)
		if err := errors.Join(err, out.Close()); err != nil {
			return err
		}
	}
	return nil
}

// readUpTo reads a file that has at most limit bytes.
func readUpTo(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s is larger than 1 MiB", path)
	}
	return text, err
}

// prefixLines puts prefix before every line of an error, but for those of a configuration,
// which name their place.
func prefixLines(prefix string, err error) error {
	if _, ok := errors.AsType[config.Mistakes](err); ok {
		return err
	}
	return errors.New(prefix + strings.ReplaceAll(err.Error(), "\n", "\n"+prefix))
}
