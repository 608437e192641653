import Foundation
import Testing

/// Machines as services under a real systemd.
@Suite(.serialized) struct ServiceTests {
  static let why = SystemdLab.missing

  /// What each script begins with: machines, and time-outs that a test can wait for.
  private static let prelude = """
    export VMCTL_HOME=/lab/home PATH=/lab:$PATH
    quick() {
      mkdir -p "/etc/systemd/system/$1.d"
      printf '[Service]\\nRestartSec=1\\nWatchdogSec=3\\n' >"/etc/systemd/system/$1.d/quick.conf"
    }
    make() {
      vmctl createvm --name "$1" --memory 32 >/dev/null
      vmctl modifyvm "$1" --firmware /lab/walker.rom --debug-ports on
    }
    await() { # SECONDS COMMAND...: until it succeeds
      local n=$(($1 * 10)); shift
      while ! "$@" >/dev/null 2>&1; do n=$((n - 1)); [ $n -gt 0 ] || { echo "GAVE UP: $*"; return 1; }; sleep 0.1; done
    }
    is() { [ "$(vmctl status "$1")" = "$2" ]; }
    unit() { systemctl show -p "$2" --value "vmctl@$1.service"; }
    printf '#!/bin/sh\\necho "$1 $2: $3" >>/lab/alerts\\n' >/lab/alert; chmod +x /lab/alert
    mkdir -p $VMCTL_HOME/services; cp /lab/alert $VMCTL_HOME/services/alert
    finish() { systemctl --no-block exit 0; }
    trap finish EXIT

    """

  private func lab() throws -> SystemdLab {
    let lab = try SystemdLab()
    try lab.copy(Guests.bareMetal("walker32.rom"), as: "walker.rom")
    return lab
  }

  @Test(.enabled(if: why == nil, "\(why ?? "")"))
  func machinesStartWithTheHostRestartAfterAFailureAndStopWithIt() throws {
    let lab = try lab()
    let output = try lab.boot(
      Self.prelude + """
        for name in a b 'c d'; do
          make "$name"; vmctl service add "$name" --autoboot on --stop-mode savestate >/dev/null
        done
        quick vmctl@.service
        systemctl daemon-reload
        systemd-analyze verify vmctl@a.service 'vmctl@c\\x20d.service' vmctl-alert@a.service >/lab/verify 2>&1
        echo "verify: $(wc -c </lab/verify) $(head -n 1 /lab/verify)"
        # What the boot target wants.
        systemctl start $(ls /etc/systemd/system/multi-user.target.wants | grep '^vmctl@')
        for name in a b 'c d'; do echo "boot $name: $(vmctl status "$name")"; done
        echo "notify: $(unit a ActiveState) $(unit a StatusText)"
        # Longer than the watchdog waits.
        sleep 4
        echo "fed: $(unit a ActiveState) $(unit a NRestarts)"
        vmctl service list --format json | grep -c '"state" : "ACTIVE"' | sed 's/^/active: /'
        kill -STOP $(unit a MainPID)
        await 60 sh -c '[ "$(systemctl show -p NRestarts --value vmctl@a.service)" = 1 ]' && await 60 is a running
        echo "watchdog: $(unit a NRestarts) $(grep -c '^ABORTED a: .*watchdog' /lab/alerts)"
        kill -9 $(unit a MainPID)
        await 60 sh -c '[ "$(systemctl show -p NRestarts --value vmctl@a.service)" = 2 ]' && await 60 systemctl is-active vmctl@a
        echo "twice: $(unit a ActiveState) $(unit a NRestarts)"
        kill -9 $(unit a MainPID)
        await 60 sh -c '[ "$(systemctl is-failed vmctl@a.service)" = failed ]'
        await 60 grep -q '^FAILED a' /lab/alerts
        echo "limit: $(unit a ActiveState) $(unit a Result) $(grep -c '^FAILED a' /lab/alerts)"
        vmctl service list | grep -c ' a .*FAILED' | sed 's/^/failed: /'
        vmctl service remove b 2>&1
        vmctl service stop b
        echo "stop: $(vmctl status b) $(unit b Result) $(unit b ActiveState)"
        vmctl service start b >/dev/null && vmctl controlvm b poweroff
        await 60 sh -c '[ "$(systemctl is-active vmctl@b.service)" = inactive ]'
        echo "poweroff: $(unit b Result) $(unit b NRestarts)"
        systemctl stop 'vmctl@*.service'
        echo "shutdown: $(vmctl status 'c d')"
        vmctl service remove 'c d' && ls /etc/systemd/system | grep -c 'vmctl@c' | sed 's/^/left: /'
        systemctl start vmctl@nobody.service 2>/dev/null; echo "unknown: $?"
        journalctl -q -u vmctl@nobody.service --no-pager | grep -o 'vmctl: .*' | head -n 1

        """)
    for line in [
      "verify: 0 ", "boot a: running", "boot b: running", "boot c d: running", "notify: active running",
      "fed: active 0", "active: 3", "watchdog: 1 1", "twice: active 2",
      "failed: 1", "limit: failed signal 1",
      "stop: saved success inactive", "poweroff: success 0", "shutdown: saved", "left: 0", "unknown: 1",
    ] {
      #expect(output.components(separatedBy: "\n").contains(line), "\(line) in:\n\(output)")
    }
    #expect(output.contains("vmctl: the unit of \"nobody\" has no machine; make one a service with vmctl service add"))
    #expect(output.contains("its service cannot be removed; stop it first with vmctl service stop \"b\""))
  }

  @Test(.enabled(if: why == nil, "\(why ?? "")"))
  func aMachineThatIsTeleportedAwayHasNotFailed() throws {
    let lab = try lab()
    let output = try lab.boot(
      Self.prelude + """
        make box; vmctl service add box >/dev/null; quick vmctl@.service; systemctl daemon-reload
        (
          export VMCTL_HOME=/lab/other
          make box; vmctl modifyvm box --teleporter on --teleporter-port 0; vmctl startvm box >/dev/null
        )
        vmctl service start box >/dev/null
        port=$(VMCTL_HOME=/lab/other vmctl showvminfo box --machinereadable | sed -n 's/^teleporterport=//p')
        vmctl controlvm box teleport --host localhost --port $port >/dev/null; echo "teleport: $?"
        await 60 sh -c '[ "$(systemctl is-active vmctl@box.service)" = inactive ]'
        echo "here: $(vmctl status box) $(unit box Result) $(unit box NRestarts)"
        echo "there: $(VMCTL_HOME=/lab/other vmctl status box)"
        await 60 grep '^TELEPORTED box' /lab/alerts
        echo "alarms: $(grep -c -e ABORTED -e FAILED /lab/alerts)"
        VMCTL_HOME=/lab/other vmctl controlvm box poweroff

        """)
    for line in ["teleport: 0", "here: teleported success 0", "there: running", "alarms: 0"] {
      #expect(output.components(separatedBy: "\n").contains(line), "\(line) in:\n\(output)")
    }
    #expect(!output.contains("GAVE UP"), "\(output)")
  }

  @Test(.enabled(if: why == nil, "\(why ?? "")"))
  func aReceiverIsStartedByItsSocket() throws {
    let lab = try lab()
    let output = try lab.boot(
      Self.prelude + """
        echo secret >/lab/password
        printf '[Socket]\nListenStream=6000\n' >/etc/systemd/system/vmctl-receive.socket
        cat >/etc/systemd/system/vmctl-receive.service <<UNIT
        [Service]
        Environment=VMCTL_HOME=/lab/other
        ExecStart=/lab/vmctl receive --systemd --passwordfile /lab/password
        KillMode=process
        UNIT
        systemctl daemon-reload; systemctl start vmctl-receive.socket
        echo "before: $(systemctl is-active vmctl-receive.service)"
        make box; vmctl startvm box >/dev/null
        vmctl controlvm box teleport --host localhost --port 6000 --passwordfile /lab/password 2>&1 >/dev/null
        echo "here: $(vmctl status box)"
        echo "there: $(VMCTL_HOME=/lab/other vmctl status box)"
        systemctl stop vmctl-receive.service
        echo "still: $(VMCTL_HOME=/lab/other vmctl status box)"
        VMCTL_HOME=/lab/other vmctl controlvm box poweroff

        """)
    for line in ["before: inactive", "here: teleported", "there: running", "still: running"] {
      #expect(output.components(separatedBy: "\n").contains(line), "\(line) in:\n\(output)")
    }
  }

  /// Somebody who is not root, with a service manager of his own.
  @Test(.enabled(if: why == nil, "\(why ?? "")"))
  func aUsersMachineIsAServiceOfHisOwn() throws {
    let lab = try lab()
    let output = try lab.boot(
      Self.prelude + """
        useradd -m tester; user=$(id -u tester)
        install -m 755 /lab/vmctl /usr/local/bin/vmctl
        install -m 644 /lab/walker.rom /home/tester/walker.rom
        as() { (cd /; runuser -u tester -- env -u VMCTL_HOME HOME=/home/tester XDG_RUNTIME_DIR=/run/user/$user \
          PATH=/usr/local/bin:/usr/bin:/bin "$@"); }
        show() { as systemctl --user show -p "$2" --value "vmctl@$1.service"; }
        echo "nobody: $(as vmctl service start box 2>&1)"
        as vmctl createvm --name box --memory 32 >/dev/null
        as vmctl modifyvm box --firmware /home/tester/walker.rom --debug-ports on
        systemctl start dbus systemd-logind
        as vmctl service add box 2>&1 >/dev/null | sed 's/^/alone: /'
        loginctl enable-linger tester
        await 60 as systemctl --user is-system-running
        as vmctl service add box --autoboot on --stop-mode savestate >/lab/added; echo "added: $?"
        grep -c enable-linger /lab/added | sed 's/^/asked for: /'
        grep -c 'a service of the user' /lab/added | sed 's/^/user: /'
        as mkdir -p /home/tester/.config/systemd/user/vmctl@.service.d
        as sh -c 'printf "[Service]\nRestartSec=1\n" >/home/tester/.config/systemd/user/vmctl@.service.d/quick.conf'
        as systemctl --user daemon-reload
        as vmctl service start box >/dev/null; echo "start: $? $(as vmctl status box) $(show box ActiveState)"
        echo "owner: $(stat -c %U /proc/$(show box MainPID))"
        kill -9 $(show box MainPID)
        # One that is not active yet is killed and not stopped.
        again() { [ "$(show box NRestarts) $(show box ActiveState) $(as vmctl status box)" = "1 active running" ]; }
        await 60 again
        echo "again: $(show box NRestarts)"
        # The end of the session that lingers, and the next boot.
        systemctl stop user@$user.service; echo "ended: $(as vmctl status box)"
        systemctl start user@$user.service
        booted() { [ "$(as vmctl status box)" = running ] && [ "$(show box ActiveState)" = active ]; }
        await 60 booted
        echo "booted: $(show box ActiveState)"
        as vmctl service stop box >/dev/null; echo "stop: $? $(as vmctl status box) $(show box Result)"
        as vmctl service remove box >/dev/null; echo "removed: $?"
        ls -A /home/tester/.config/systemd/user | grep -c 'vmctl@box' | sed 's/^/left: /'
        vmctl list vms | grep -c box | sed 's/^/roots: /'

        """)
    for line in [
      "added: 0", "asked for: 0", "user: 1", "start: 0 running active", "owner: tester", "again: 1", "ended: saved",
      "booted: active",
      "stop: 0 saved success", "removed: 0", "left: 0", "roots: 0",
    ] {
      #expect(output.components(separatedBy: "\n").contains(line), "\(line) in:\n\(output)")
    }
    #expect(!output.contains("GAVE UP"), "\(output)")
    #expect(output.contains("alone: vmctl: systemctl daemon-reload: Failed to connect to bus"), "\(output)")
    #expect(
      output.contains("have an administrator run loginctl enable-linger tester and set XDG_RUNTIME_DIR=/run/user/"))
  }

  @Test(.enabled(if: why == nil && Guests.hasLinux, "\(why ?? "there is no Linux guest: run scripts/fetch-guest")"))
  func aStopScriptEndsALinuxGuestOnItsConsoleAndOneThatFailsIsTold() throws {
    let lab = try lab()
    try lab.copy(Guests.kernel("cloud-amd64"), as: "vmlinuz")
    try lab.copy(Guests.initrd("cloud-amd64"), as: "initrd")
    let output = try lab.boot(
      Self.prelude + """
        vmctl createvm --name box --memory 256 >/dev/null
        vmctl modifyvm box --kernel /lab/vmlinuz --initrd /lab/initrd --append 'console=ttyS0 quiet workload=0' \\
          --uart1 0x3F8 4 --uart-mode1 tcpserver 0 --console-record on
        vmctl service add box --stop-timeout 200 >/dev/null
        echo "new: $(vmctl service status box | grep '^Stop script')"
        sed -i '/^# TO CUSTOMIZE/d' $VMCTL_HOME/services/stop
        echo "no case: $(vmctl service status box | grep '^Stop script')"
        sed -i "s/^# web) .*/box) stop_by_expect box root x 'sync; umount -a; echo unmounted; poweroff -f' ;;/" $VMCTL_HOME/services/stop
        echo "case: $(vmctl service status box | grep '^Stop script')"
        vmctl service start box
        vmctl service start box 2>&1
        vmctl service stop box
        echo "stopped: $(vmctl status box) $(unit box Result)"
        grep '^STOPPED box' /lab/alerts
        # At the beginning of a line: what was typed is in the record, too.
        echo "unmounted: $(grep -c '^unmounted' $VMCTL_HOME/machines/box/console1.log)"
        # A script that fails: the time-out ends the machine.
        printf '#!/bin/sh\\necho cannot log in; exit 3\\n' >/lab/stop; chmod +x /lab/stop
        vmctl service add box --stop-script /lab/stop --stop-timeout 1 >/dev/null
        mkdir -p /etc/systemd/system/vmctl@box.service.d
        printf '[Service]\\nTimeoutStopSec=4\\n' >/etc/systemd/system/vmctl@box.service.d/quick.conf
        systemctl daemon-reload
        vmctl service start box >/dev/null
        vmctl service stop box 2>&1; echo "failed stop: $? $(vmctl status box)"
        grep '^STOPFAILED box' /lab/alerts
        # A start that is refused.
        printf '#!/bin/sh\\necho no room; exit 1\\n' >/lab/pre; chmod +x /lab/pre
        vmctl service add box --pre-start /lab/pre >/dev/null
        vmctl service start box 2>&1; echo "refused: $? $(unit box NRestarts)"

        """)
    let lines = output.split(separator: "\n").map(String.init)
    for line in [
      "new: Stop script:     To customize", "no case: Stop script:     Case not set",
      "case: Stop script:     Using EXPECT",
      "stopped: poweroff success", "unmounted: 1", "failed stop: 1 poweroff", "refused: 1 0",
    ] {
      #expect(lines.contains(line), "\(line) in:\n\(output)")
    }
    for text in [
      "runs already (it is running); see vmctl service status \"box\"", "STOPPED box: stopped by the operator",
      "the stop script /lab/stop ended with 3: cannot log in", "the pre-start script /lab/pre ended with 1: no room",
    ] {
      #expect(output.contains(text), "\(text) in:\n\(output)")
    }
  }
}
