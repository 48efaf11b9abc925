// Command chart writes the Helm chart from config/, the same kustomize builds that everything else is installed from, by one table of
// values: which place in which object a value is for. What stands there in config/ is the value's default, so that the chart with
// default values is config/default.
package main
