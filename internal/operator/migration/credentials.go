package migration

import (
	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

const defaultFileType = contract.VolumeSELinuxType

// pullSecret is the name of a secret, or several.
func pullSecret(m *mapping, path string, value any) {
	list, many := value.([]any)
	if !many {
		list = []any{value}
	}
	for _, one := range list {
		name, is := as[string](m, path, nameIn(one))
		if !is {
			continue
		}
		m.driver.Spec.Credentials.Secrets = append(m.driver.Spec.Credentials.Secrets, v1alpha1.SecretName{Name: name})
		m.note(Mapped, path, "spec.credentials.secrets")
		m.note(Action, path, "copy the secret into the namespace of the node plugins: kubectl -n %s get secret %s -o json | "+
			"jq 'del(.metadata) + {metadata: {name: .metadata.name}}' | kubectl -n image-csi-system create -f -", m.namespace(), name)
	}
}

// nameIn takes a reference for its name.
func nameIn(value any) any {
	if reference, is := value.(map[string]any); is {
		return reference["name"]
	}
	return value
}

func (m *mapping) namespace() string {
	if m.from.Namespace == "" {
		return "NAMESPACE"
	}
	return m.from.Namespace
}

// credentialProvider has the values enabled, configPath and binDir.
func credentialProvider(m *mapping, path string, value any) {
	set, is := as[struct {
		Enabled            bool
		ConfigPath, BinDir string
	}](m, path, value)
	if !is {
		return
	}
	if !set.Enabled {
		m.note(Unneeded, path, "is not enabled")
		return
	}
	if set.ConfigPath == "" || set.BinDir == "" {
		m.note(Action, path, "is enabled without configPath or binDir; set spec.credentials.providers to the paths that the kubelet has "+
			"(--image-credential-provider-config and --image-credential-provider-bin-dir)")
		return
	}
	m.driver.Spec.Credentials.Providers = &v1alpha1.CredentialProviders{ConfigPath: v1alpha1.HostPath(directory(set.ConfigPath)), BinDir: v1alpha1.HostPath(directory(set.BinDir))}
	m.note(Mapped, path, "spec.credentials.providers")
	m.note(Changed, path, "the programs run in a container of their own, without privileges and libraries: they must be static, and both paths must exist on every node")
}

// asAWhole notes what is no value's doing.
func (m *mapping) asAWhole() {
	if m.driver.Spec.NodePlugin.Tolerations == nil {
		m.note(Changed, "tolerations", "there were none, so tainted nodes had no driver; now they get it. Set spec.nodePlugin.nodeSelectorTerms to leave nodes out")
	}
	for _, change := range []string{
		"a volume's own secret is tried first, then the driver's, then credential providers, and the registry without credentials last; before, it was asked without first",
		"a private image that is on the node already is mounted only for volumes whose credentials open it (spec.credentials.verification)",
	} {
		m.note(Changed, "", "%s", change)
	}
	spec := m.driver.Spec
	if len(spec.NodeClasses)+len(spec.Credentials.Secrets) > 0 || spec.Credentials.Providers != nil || spec.NodePlugin.Confinement != nil {
		m.note(Action, "", "who applies the driver needs the verb escalate on imagecsidrivers %s, for its node classes, credentials or confinement", m.driver.Name)
	}
}
