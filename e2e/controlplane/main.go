// Command controlplane is a whole Kubernetes control plane in one binary: the
// lab starts it once per component, as "controlplane kube-apiserver --flags",
// or under the component's own name through a symbolic link.
//
// It only dispatches. Flags, certificates and processes are the business of
// the harness that starts it.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"

	_ "time/tzdata" // CronJobs name time zones, and a lab machine may have no zone files.

	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

var components = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kubectl":                 kubectl.NewDefaultKubectlCommand,
}

func main() {
	args := os.Args
	name := filepath.Base(args[0])
	if !known(name) && len(args) > 1 {
		args = args[1:]
		name = args[0]
	}
	if !known(name) {
		fmt.Fprintf(os.Stderr, "unknown component %q: give one of %s\n", name, strings.Join(names(), ", "))
		os.Exit(2)
	}
	os.Args = args
	if name == "etcd" {
		etcdmain.Main(args)
		return
	}
	os.Exit(cli.Run(components[name]()))
}

func known(name string) bool {
	return name == "etcd" || components[name] != nil
}

func names() []string {
	all := []string{"etcd"}
	for name := range components {
		all = append(all, name)
	}
	sort.Strings(all)
	return all
}
