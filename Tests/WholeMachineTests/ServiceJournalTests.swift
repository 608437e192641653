import Foundation
import Testing

/// Alerts where a real systemd runs: the journal, and the timer that looks into the logs.
@Suite struct ServiceJournalTests {
  static let why = SystemdLab.missing

  @Test(.enabled(if: why == nil, "\(why ?? "")"))
  func alertsComeIntoTheJournalAndTheTimersUnitFindsTheMachines() throws {
    let lab = try SystemdLab()
    try lab.copy(Guests.bareMetal("walker32.rom"), as: "walker.rom")
    let output = try lab.boot(
      """
      export VMCTL_HOME="/lab/a home-1" PATH=/lab:$PATH
      trap 'systemctl --no-block exit 0' EXIT
      await() { # COMMAND...: until it succeeds
        local n=600
        while ! "$@" >/dev/null 2>&1; do n=$((n - 1)); [ $n -gt 0 ] || { echo "GAVE UP: $*"; return 1; }; sleep 0.1; done
      }
      vmctl createvm --name box --memory 32 >/dev/null
      vmctl modifyvm box --firmware /lab/walker.rom --debug-ports on
      vmctl service add box --log-alerts info >/dev/null
      unit=$(cd /etc/systemd/system/timers.target.wants && ls | sed -n 's/^\\(vmctl-events@.*\\)\\.timer$/\\1/p')
      echo "timer: $(systemctl is-active "$unit.timer")"
      systemd-analyze verify "$unit.timer" "$unit.service" >/lab/verify 2>&1
      echo "verify: $(wc -c </lab/verify) $(head -n 1 /lab/verify)"
      vmctl service alert ABORTED box "a word for the journal"
      await sh -c "journalctl -q -t vmctl --no-pager | grep 'ABORTED box: a word for the journal'"
      echo "journal: $(journalctl -q -t vmctl -p err --no-pager -o cat | head -n 1)"
      # The first look learns where the log ends; what comes then is told.
      vmctl service start box >/dev/null
      systemctl start "$unit.service"
      n=$(grep -c heartbeat "$VMCTL_HOME/machines/box/log")
      await sh -c '[ $(grep -c heartbeat "$VMCTL_HOME/machines/box/log") -gt '$((n + 1))' ]'
      systemctl start "$unit.service"
      echo "looked: $(systemctl show -p Result --value "$unit.service")"
      await sh -c "journalctl -q -t vmctl -p warning --no-pager -o cat | grep 'LOGEVENT box: .*heartbeat'"
      echo "told: $(journalctl -q -t vmctl -p warning --no-pager -o cat | grep -c '^LOGEVENT box')"
      vmctl service stop box >/dev/null
      ls "$VMCTL_HOME/machines/box" | grep -c '^saved.state$' | sed 's/^/saved: /'
      vmctl service add box --log-alerts off >/dev/null
      echo "off: $(systemctl is-active "$unit.timer")"

      """)
    let lines = output.components(separatedBy: "\n")
    for line in [
      "timer: active", "verify: 0 ", "journal: ABORTED box: a word for the journal", "looked: success", "told: 1",
      "saved: 1", "off: inactive",
    ] {
      #expect(lines.contains(line), "\(line) in:\n\(output)")
    }
  }
}
