//go:build unix

package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/statesync/statesync/cmd/internal/flagdoc"
	"github.com/statesync/statesync/daemon"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/docs/docpart"
)

const configuration = "../../docs/CONFIGURATION.md"

func TestConfigurationIsDocumented(t *testing.T) {
	docpart.Check(t, configuration, "flags of statesyncd", flagdoc.Table(newCommand(nil, nil),
		func(_ string, f *pflag.Flag) string { return envName(f.Name) }))
	_, help, _ := strings.Cut(long, "\nSignals\n")
	docpart.Check(t, configuration, "options of sources", sourceOptions())
	docpart.Check(t, configuration, "help of statesyncd", "```\nSignals\n"+help+"\n```\n")
}

// sourceOptions is the table of the options of all kinds of sources.
func sourceOptions() string {
	var rows strings.Builder
	rows.WriteString("| option | of | is |\n| --- | --- | --- |\n")
	add := func(kind string, list []source.OptionDoc) {
		for _, o := range list {
			fmt.Fprintf(&rows, "| `%s=` | %s | %s |\n", o.Name, kind, strings.ReplaceAll(o.What, "|", "\\|"))
		}
	}
	add("all", source.CommonOptions)
	for _, scheme := range daemon.Schemes {
		add("`"+scheme.Name+":`", scheme.Options)
	}
	return rows.String()
}

// Every variable of the environment that the code asks for by its name is in
// the document.
func TestVariablesAreDocumented(t *testing.T) {
	text, err := os.ReadFile(configuration)
	if err != nil {
		t.Fatal(err)
	}
	asked := regexp.MustCompile(`(?:[eE]nv|Getenv|LookupEnv|lookup)\((?:environ, )?"([A-Z_]+)"\)|Env\w* += "([A-Z_]+)"`)
	found := 0
	for _, dir := range []string{"cmd", "daemon", "client", "shm"} {
		err := filepath.WalkDir(filepath.Join("../..", dir), func(path string, d fs.DirEntry, err error) error {
			if d.IsDir() && (d.Name() == "failpoint" || d.Name() == "shmtest") {
				return fs.SkipDir // of tests, and of builds for them
			}
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			code, err := os.ReadFile(path)
			for line := range strings.Lines(string(code)) {
				if !strings.Contains(line, "nv") && !strings.Contains(line, "lookup") {
					continue // asked, which is slow, finds nothing
				}
				for _, names := range asked.FindAllStringSubmatch(line, -1) {
					found++
					if name := names[1] + names[2]; !strings.Contains(string(text), "`"+name+"`") {
						t.Errorf("%s asks for %s, which %s does not have", path, name, configuration)
					}
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found < 5 {
		t.Errorf("%d variables are found", found)
	}
}
