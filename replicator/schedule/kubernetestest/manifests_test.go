// Package kubernetestest holds the manifests of replicator/schedule against Kubernetes's own types. It is a module of its own, so
// that these types are no dependency of the program, and it reads the golden files that the package's own tests keep.
package kubernetestest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// manifests are the documents of one golden file, by kind and name.
func manifests(t *testing.T, file string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	for doc := range strings.SplitSeq("\n"+string(text), "\n---\n") {
		var head struct {
			metav1.TypeMeta `json:",inline"`
			Metadata        metav1.ObjectMeta `json:"metadata"`
		}
		if err := yaml.Unmarshal([]byte(doc), &head); err != nil {
			t.Fatal(err)
		}
		if head.Kind == "" {
			continue // the line before the first
		}
		var o any
		switch head.APIVersion + " " + head.Kind {
		case "v1 ServiceAccount":
			o = &corev1.ServiceAccount{}
		case "v1 ConfigMap":
			o = &corev1.ConfigMap{}
		case "v1 PersistentVolumeClaim":
			o = &corev1.PersistentVolumeClaim{}
		case "networking.k8s.io/v1 NetworkPolicy":
			o = &networkingv1.NetworkPolicy{}
		case "batch/v1 CronJob":
			o = &batchv1.CronJob{}
		default:
			t.Fatalf("%s: %s %s is of no kind that is expected", file, head.APIVersion, head.Kind)
		}
		if err := yaml.UnmarshalStrict([]byte(doc), o); err != nil {
			t.Errorf("%s: %s %s: %v", file, head.Kind, head.Metadata.Name, err)
		}
		name := head.Kind + " " + head.Metadata.Name
		if _, twice := out[name]; twice {
			t.Errorf("%s: %s twice", file, name)
		}
		out[name] = o
	}
	return out
}

func files(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob("../testdata/*.yaml")
	if err != nil || len(all) < 3 {
		t.Fatalf("%q, %v", all, err)
	}
	return all
}

// TestStrict: every manifest decodes strictly, and every CronJob is closed as far as the restricted Pod Security Standard asks.
func TestStrict(t *testing.T) {
	for _, file := range files(t) {
		jobs := 0
		all := manifests(t, file)
		for name, o := range all {
			job, ok := o.(*batchv1.CronJob)
			if !ok {
				continue
			}
			jobs++
			if job.Spec.ConcurrencyPolicy != batchv1.ForbidConcurrent || job.Spec.TimeZone == nil || len(job.Name) > 52 {
				t.Errorf("%s: %s: %+v", file, name, job.Spec)
			}
			checkPod(t, file+": "+name, job.Spec.JobTemplate.Spec.Template.Spec, all)
		}
		if jobs < 4 {
			t.Errorf("%s: %d CronJobs", file, jobs)
		}
	}
}

func checkPod(t *testing.T, name string, pod corev1.PodSpec, all map[string]any) {
	t.Helper()
	c := pod.Containers[0]
	s := c.SecurityContext
	if pod.RestartPolicy != corev1.RestartPolicyNever || !*pod.SecurityContext.RunAsNonRoot || *pod.AutomountServiceAccountToken ||
		pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault || *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem ||
		!slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 {
		t.Errorf("%s is not closed: %+v %+v", name, pod.SecurityContext, s)
	}
	volumes := map[string]bool{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = true
		if v.Secret != nil && (*v.Secret.DefaultMode != 0o440 || len(v.Secret.Items) == 0) {
			t.Errorf("%s: the Secret's files: %+v", name, v.Secret)
		}
		if v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == "holdfast-cache" && all["PersistentVolumeClaim holdfast-cache"] == nil {
			t.Errorf("%s: no claim for the cache", name)
		}
	}
	for _, m := range c.VolumeMounts {
		if !volumes[m.Name] {
			t.Errorf("%s mounts %s, which is no volume of it", name, m.Name)
		}
	}
}

// ports are what a policy lets out: protocol, port, and where to if not anywhere.
func ports(p *networkingv1.NetworkPolicy) (out []string) {
	for _, rule := range p.Spec.Egress {
		for _, port := range rule.Ports {
			line := fmt.Sprintf("%s %d", *port.Protocol, port.Port.IntValue())
			for _, to := range rule.To {
				line += " " + to.IPBlock.CIDR
			}
			out = append(out, line)
		}
	}
	return out
}

// TestPolicies: DNS and the vaults' ports for all, the sources' for runs, nothing else and nothing in.
func TestPolicies(t *testing.T) {
	for file, want := range map[string]map[string][]string{
		"bucket": {
			"NetworkPolicy holdfast":     {"UDP 53", "TCP 53", "TCP 9000"},
			"NetworkPolicy holdfast-run": {"TCP 443"},
		},
		"several": {
			"NetworkPolicy holdfast":     {"UDP 53", "TCP 53", "TCP 443 192.0.2.7/32", "TCP 443 2001:db8::1/128", "TCP 587 192.0.2.25/32", "TCP 9000", "TCP 8443", "TCP 443"},
			"NetworkPolicy holdfast-run": {"TCP 80 169.254.169.254/32 169.254.170.23/32", "TCP 443"},
		},
		"folders": {
			"NetworkPolicy holdfast":     {"UDP 53", "TCP 53", "TCP 9000"},
			"NetworkPolicy holdfast-run": nil,
		},
	} {
		all := manifests(t, "../testdata/"+file+".yaml")
		policies := 0
		for name, o := range all {
			p, ok := o.(*networkingv1.NetworkPolicy)
			if !ok {
				continue
			}
			policies++
			expected, ok := want[name]
			if got := ports(p); !ok || !slices.Equal(got, expected) {
				t.Errorf("%s: %s lets out %q instead of %q", file, name, got, expected)
			}
			if len(p.Spec.Ingress) > 0 || !slices.Equal(p.Spec.PolicyTypes, []networkingv1.PolicyType{"Ingress", "Egress"}) {
				t.Errorf("%s: %s: %+v", file, name, p.Spec)
			}
			for _, o := range all {
				if job, ok := o.(*batchv1.CronJob); ok && selects(p, job) != (name == "NetworkPolicy holdfast" || strings.HasPrefix(job.Name, "holdfast-run") || job.Name == "holdfast" || job.Name == "holdfast-2") {
					t.Errorf("%s: %s and %s", file, name, job.Name)
				}
			}
		}
		if policies != len(want) {
			t.Errorf("%s: %d policies", file, policies)
		}
	}
}

// selects reports whether a policy is for the pods of a job.
func selects(p *networkingv1.NetworkPolicy, job *batchv1.CronJob) bool {
	for key, value := range p.Spec.PodSelector.MatchLabels {
		if job.Spec.JobTemplate.Spec.Template.Labels[key] != value {
			return false
		}
	}
	return true
}
