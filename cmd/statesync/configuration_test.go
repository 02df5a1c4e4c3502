package main

import (
	"io"
	"testing"

	"github.com/spf13/pflag"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/cmd/internal/flagdoc"
	"github.com/statesync/statesync/docs/docpart"
)

func TestConfigurationIsDocumented(t *testing.T) {
	a := &app{env: func(string) string { return "" }, stdout: io.Discard, stderr: io.Discard}
	variables := map[string]string{"region": client.EnvRegion, "owner": client.EnvOwner}
	docpart.Check(t, "../../docs/CONFIGURATION.md", "flags of statesync", flagdoc.Table(a.command(),
		func(command string, f *pflag.Flag) string {
			if command != "all" {
				return ""
			}
			return variables[f.Name]
		}))
}
