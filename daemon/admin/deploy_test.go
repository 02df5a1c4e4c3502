//go:build unix

package admin

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

const deploy = "../../deploy"

// served are the names of all metrics that a scrape has, and those that
// Prometheus makes of a histogram's.
func served(t *testing.T) []string {
	t.Helper()
	_, text := start(t, healthy()).get("/metrics")
	names := []string{"up", "statesync_region_bytes"} // a scrape has these, and this test's daemon no region
	for line := range strings.Lines(text) {
		if name := regexp.MustCompile(`^[a-z_]+`).FindString(line); name != "" {
			names = append(names, name)
		}
	}
	return names
}

var metricNames = regexp.MustCompile(`\b(statesync|process|go)_[a-z_]+\b`)

// mustExist fails for an expression without a metric, or with one that no
// daemon has.
func mustExist(t *testing.T, names []string, where, expression string) {
	t.Helper()
	used := metricNames.FindAllString(expression, -1)
	if used == nil && !strings.HasPrefix(expression, "up{") {
		t.Errorf("%s: %q has no metric of a daemon", where, expression)
	}
	for _, name := range used {
		if !slices.Contains(names, name) {
			t.Errorf("%s: %q: no daemon has %s", where, expression, name)
		}
	}
}

func TestAlertRules(t *testing.T) {
	rules, tests := filepath.Join(deploy, "prometheus/rules.yaml"), filepath.Join(deploy, "prometheus/rules_test.yaml")
	text, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	tried, err := os.ReadFile(tests)
	if err != nil {
		t.Fatal(err)
	}
	names, n := served(t), 0
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			n++
			mustExist(t, names, rule.Alert, rule.Expr)
			if rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
				t.Errorf("%s does not say how bad it is, what it is and what to do", rule.Alert)
			}
			if !strings.Contains(string(tried), rule.Alert) {
				t.Errorf("%s is not tried in %s", rule.Alert, tests)
			}
		}
	}
	if n == 0 {
		t.Error("there is no rule")
	}
	tool := promtool(t)
	for _, args := range [][]string{{"check", "rules", rules}, {"test", "rules", tests}} {
		if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

func TestDashboard(t *testing.T) {
	path := filepath.Join(deploy, "grafana/statesync.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	type expr struct{ Expr string }
	var board struct {
		Panels []struct {
			Title, Type string
			Targets     []expr
		}
		Templating struct {
			List []struct{ Name, Definition string }
		}
		Annotations struct{ List []expr }
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	names := served(t)
	if len(board.Panels) == 0 {
		t.Error("there is no panel")
	}
	for _, p := range board.Panels {
		if len(p.Targets) == 0 {
			t.Errorf("the panel %s asks for nothing", p.Title)
		}
		for _, target := range p.Targets {
			mustExist(t, names, p.Title, target.Expr)
		}
	}
	for _, v := range board.Templating.List {
		if v.Definition != "" {
			mustExist(t, names, "$"+v.Name, v.Definition)
		}
	}
	for _, a := range board.Annotations.List {
		mustExist(t, names, "annotation", a.Expr)
	}
	// Prometheus reads the queries, once Grafana has filled them in.
	var queries rules
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			filled := strings.NewReplacer("$__rate_interval", "5m", "$job", ".*", "$instance", ".*").Replace(target.Expr)
			queries.add(filled)
		}
	}
	check := filepath.Join(t.TempDir(), "rules.yaml")
	if text, err = yaml.Marshal(queries); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(check, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(promtool(t), "check", "rules", check).CombinedOutput(); err != nil {
		t.Errorf("promtool check rules: %v\n%s", err, out)
	}
}

// rules are queries as a file of recording rules.
type rules struct {
	Groups []ruleGroup `yaml:"groups"`
}

type ruleGroup struct {
	Name  string   `yaml:"name"`
	Rules []record `yaml:"rules"`
}

type record struct {
	Record string `yaml:"record"`
	Expr   string `yaml:"expr"`
}

func (r *rules) add(expr string) {
	name := fmt.Sprintf("query:%d", len(r.Groups))
	r.Groups = append(r.Groups, ruleGroup{name, []record{{name, expr}}})
}
