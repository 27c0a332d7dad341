#!/bin/sh
# Runs a command beside a Slurm of one node on this machine, which ends with it. Needs root, slurm-wlm and munge.
set -e
for program in munged slurmctld slurmd sbatch; do
  command -v $program > /dev/null || PATH="$PATH:/usr/sbin"
  command -v $program > /dev/null || { echo "test-slurm: $program is missing; install slurm-wlm and munge" >&2; exit 2; }
done
[ "$(id -u)" = 0 ] || { echo "test-slurm: must be run by root, who may start Slurm's daemons" >&2; exit 2; }
state=$(mktemp -d) && chmod 755 "$state"
host=$(hostname -s)
mkdir -p "$state/ctl" "$state/d" /run/munge && chown munge: /run/munge
cat > "$state/slurm.conf" <<END
ClusterName=test
SlurmctldHost=$host
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
ReturnToService=2
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation=$state/ctl
SlurmdSpoolDir=$state/d
SlurmctldLogFile=$state/slurmctld.log
SlurmdLogFile=$state/slurmd.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobRequeue=1
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/filetxt
JobCompLoc=$state/jobs.txt
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000
KillWait=5
NodeName=$host CPUs=$(nproc) State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
export SLURM_CONF="$state/slurm.conf" DASHTHEORY_REAL_SLURM=1
munge=""
pgrep -x munged > /dev/null || { setpriv --reuid=munge --regid=munge --clear-groups munged --foreground & munge=$!; }
ctl="" node=""
finish() {
  scancel --user=root 2> /dev/null || true
  sleep 1
  for pid in $node $ctl $munge; do kill "$pid" 2> /dev/null && wait "$pid" 2> /dev/null || true; done
  [ -n "$KEEP" ] && echo "kept: $state" || rm -rf "$state"
}
trap finish EXIT
sleep 1
slurmctld -D & ctl=$!
slurmd -D & node=$!
for _ in $(seq 60); do
  sinfo -h -o %T 2> /dev/null | grep -q idle && break
  sleep 1
done
sinfo -h -o %T | grep -q idle || { echo "test-slurm: no node came up" >&2; tail -5 "$state"/*.log >&2; exit 1; }
"$@"
