#!/bin/sh
# A real Slurm of one node, from Debian's packages (`cargo xtask setup slurm`): submits a run in parts, kills one of its
# tasks with SIGKILL, takes another away as pre-emption does, waits for the end, and compares the results with those of the
# same run without Slurm. Everything lies in a temporary folder; nothing of the machine's own Slurm is touched.
#
#   sh tests/slurm/single-node.sh SCGS DATASETS      SCGS: the program; DATASETS: the folder datasets of the project
#
# Needs root, which slurmd wants. Exit codes: 0 all as expected, 1 not so, 2 something is missing.
set -eu

scgs=$(readlink -f "${1:?the path of scgs}")
datasets=$(readlink -f "${2:?the folder datasets}")
for program in munged slurmctld slurmd sbatch squeue scontrol; do
    command -v "$program" >/dev/null || { echo "$program is missing: cargo xtask setup slurm"; exit 2; }
done
[ "$(id -u)" = 0 ] || { echo "slurmd needs root"; exit 2; }

work=$(mktemp -d -t scgs-slurm-XXXXXX)
host=$(hostname -s)
cpus=$(nproc)
start=$(date +%s)
say() { printf '%4s s  %s\n' "$(($(date +%s) - start))" "$*"; }
stop() {
    for name in slurmd slurmctld munged; do
        if [ -f "$work/$name.pid" ]; then kill "$(cat "$work/$name.pid")" 2>/dev/null || true; fi
    done
}
trap stop EXIT
trap 'exit 1' INT TERM

mkdir -p "$work/munge" "$work/state" "$work/spool"
chmod 700 "$work/munge"
chmod 755 "$work"
dd if=/dev/urandom of="$work/munge/key" bs=64 count=1 2>/dev/null
chmod 600 "$work/munge/key"
mkdir -m 755 "$work/socket"
munged --key-file="$work/munge/key" --socket="$work/socket/munge" --pid-file="$work/munged.pid" \
    --log-file="$work/munge/log" --seed-file="$work/munge/seed" --num-threads=2 --force

cat > "$work/slurm.conf" <<END
ClusterName=scgs
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$work/socket/munge
CredType=cred/munge
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
JobRequeue=1
SchedulerParameters=batch_sched_delay=0,sched_interval=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
export SLURM_CONF="$work/slurm.conf"
slurmctld
slurmd -N "$host" 2>/dev/null || slurmd
for _ in $(seq 50); do
    sinfo -h -o %T 2>/dev/null | grep -q idle && break
    sleep 0.2
done
say "Slurm $(sinfo --version | cut -d' ' -f2): node $(sinfo -h -o '%N is %T, %c CPUs')"

export SCGS_DATASETS="$datasets"
tiny="--dataset habitat --methods erm,scgs --set habitat.size=48 --set habitat.train=160 --set habitat.val=16 --set habitat.test=40
    --set backbone.input_size=64 --set attention.input_size=64 --set synthesis.share=0.5 --set synthesis.inpainter=small-diffusion
    --set synthesis.small.steps=40"
mkdir "$work/cluster" "$work/alone"
cd "$work/cluster"
# shellcheck disable=SC2086
"$scgs" run $tiny --launcher slurm --shards 4 --launch-dir "$work/cluster/launch" --time-limit 0-00:30:00 --runs "$work/cluster/runs" > "$work/submitted"
sed "s#$work#WORK#g" "$work/submitted"
shards=$(sed -n 's/.*2-shards=\([0-9]*\).*/\1/p' "$work/submitted")

# Waits for a task of the array that runs and is not in the list given, and whose process is there; prints its job id.
running() {
    for _ in $(seq 600); do
        for line in $(squeue -h -r -j "$shards" -t R -o '%A:%K' 2>/dev/null); do
            case " $* " in *" ${line#*:} "*) continue ;; esac
            echo "$line"
            return
        done
        sleep 0.1
    done
    return 1
}
# The process of scgs in a job.
process() {
    for _ in $(seq 100); do
        for pid in $(scontrol listpids "$1" 2>/dev/null | sed -n 's/^ *\([0-9][0-9]*\) .*/\1/p'); do
            if [ "$(readlink "/proc/$pid/exe" 2>/dev/null)" = "$scgs" ]; then echo "$pid"; return; fi
        done
        sleep 0.05
    done
    return 1
}

first=$(running)
pid=$(process "${first%:*}")
sleep 1
kill -9 "$pid"
say "task ${first#*:} of the shards: process $pid killed with SIGKILL"
second=$(running "${first#*:}")
process "${second%:*}" >/dev/null
sleep 1
scontrol requeue "${second%:*}"
say "task ${second#*:} of the shards: taken away (scontrol requeue), as pre-emption does"

states=
for _ in $(seq 1200); do
    now=$(squeue -h -r -o '%j[%K] %T %r' | sed 's/ None$//' | sort | tr '\n' ';')
    if [ "$now" != "$states" ]; then say "queue: ${now:-empty}"; states=$now; fi
    [ -z "$now" ] && break
    sleep 0.5
done

restarts=$(for task in "${first%:*}" "${second%:*}"; do scontrol show job "$task" | sed -n 's/.*Restarts=\([0-9]*\).*/\1/p'; done | tr '\n' ' ')
say "restarts of the two tasks: $restarts"
for log in launch/logs/*.log; do
    echo "---- $(basename "$log")"
    sed "s#$work#WORK#g; s#$datasets#DATASETS#g; s#$scgs#SCGS#g" "$log"
done
cd "$work/alone"
# shellcheck disable=SC2086
"$scgs" run $tiny --quiet > /dev/null
results() { (cd "$1" && find runs/habitat -path '*seed-0/results.json' -o -path '*5-synthesis/images/*.png' | sort | xargs sha256sum); }
results "$work/cluster" > "$work/a"
results "$work/alone" > "$work/b"
say "compared with the run without Slurm: $(wc -l < "$work/b") files"
cmp "$work/a" "$work/b" || { echo "the results differ"; exit 1; }
case "$restarts" in *[1-9]*[1-9]*) ;; *) echo "not both tasks were started again"; exit 1 ;; esac
say "results.json and every new picture are the same; done"
# First: their files name the daemons.
stop
rm -rf "$work"
