#!/usr/bin/env bash
# A real Slurm of one or two nodes on this machine, for the tests:   NODES=2 PORT=16817 cluster.sh up FOLDER | down FOLDER
# Everything it has lies in FOLDER and listens on loopback; nothing of the system's is written. Clients need
# SLURM_CONF=FOLDER/slurm.conf, and FOLDER/bin on their PATH for sacct. A second node needs root, for its own host name.
set -euo pipefail
command=$1 at=$2 nodes=${NODES:-1} port=${PORT:-16817} cpus=${CPUS:-4}
export SLURM_CONF=$at/slurm.conf

if [ "$command" = down ]; then
  scancel --partition=low,high 2>/dev/null || true
  for pid in "$at"/run/slurmd*.pid "$at"/run/slurmctld.pid "$at"/run/munged.pid; do
    [ -s "$pid" ] && kill "$(cat "$pid")" 2>/dev/null || true
  done
  exit
fi

mkdir -p "$at"/{bin,run,log,state,spool}
chmod 755 "$at" "$at"/*/

# ---------------------------------------------------------------- munge: its own key and socket
(umask 077; head -c 1024 /dev/urandom >"$at/munge.key")
munged --force --key-file="$at/munge.key" --socket="$at/run/munge.sock" --pid-file="$at/run/munged.pid" \
  --log-file="$at/log/munged.log" --seed-file="$at/run/munge.seed"

# ---------------------------------------------------------------- nodes n1, n2, ...: this machine under several names
here=$(hostname -s) names=() lines=""
for i in $(seq 1 "$nodes"); do
  name=$([ "$nodes" = 1 ] && echo "$here" || echo "n$i")
  names+=("$name")
  lines+="NodeName=$name NodeAddr=127.0.0.1 Port=$((port + i)) CPUs=$cpus RealMemory=4000 State=UNKNOWN"$'\n'
done
all=$(IFS=,; echo "${names[*]}")

# cred_expire: a requeued job starts again once its old credential has expired, after two minutes by default
# preempt_send_user_signal: at preemption a job gets the signal that it asked for, and with it the time to requeue itself
cat >"$at/slurm.conf" <<CONF
ClusterName=tests
SlurmctldHost=$here(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$at/run/munge.sock,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation=$at/state
SlurmdSpoolDir=$at/spool/%n
SlurmctldPidFile=$at/run/slurmctld.pid
SlurmdPidFile=$at/run/slurmd.%n.pid
SlurmctldLogFile=$at/log/slurmctld.log
SlurmdLogFile=$at/log/slurmd.%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=2,batch_sched_delay=1
SlurmdParameters=config_overrides
SlurmctldParameters=preempt_send_user_signal
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
KillWait=3
MinJobAge=300
InactiveLimit=0
${lines}PartitionName=low Nodes=$all Default=YES MaxTime=INFINITE PriorityTier=1 State=UP GraceTime=15
PartitionName=high Nodes=$all MaxTime=INFINITE PriorityTier=10 State=UP PreemptMode=OFF
CONF

# sacct wants a database; what squeue remembers of ended jobs (MinJobAge seconds) answers submitit's one question
cat >"$at/bin/sacct" <<'SACCT'
#!/bin/sh
echo "JobID|State|NodeList"
exec squeue --noheader --array --states=all --format="%i|%T|%N"
SACCT
chmod +x "$at/bin/sacct"

slurmctld -c
if [ "$nodes" = 1 ]; then
  slurmd
else
  { cat /etc/hosts; for name in "${names[@]}"; do echo "127.0.0.1 $name"; done; } >"$at/hosts"
  for name in "${names[@]}"; do
    unshare --uts --mount --propagation private bash -c \
      'hostname "$1"; mount --bind "$2" /etc/hosts; exec slurmd -N "$1"' _ "$name" "$at/hosts"
  done
fi
for _ in $(seq 1 100); do
  [ "$(sinfo --noheader --partition=low --states=idle --format=%D 2>/dev/null)" = "$nodes" ] && exit
  sleep 0.2
done
echo "the cluster did not come up, see $at/log" >&2
exit 1
