import Devices
import Foundation

/// PIT, clock chip and HPET. The HPET, where there is one, takes the places of the other two in its legacy mode.
final class TimerPart: BoardPart {
  private let hpet: HPET?
  private let pit: PIT8254
  private let rtc: RTC146818

  var devices: [any Device] {
    let always: [any Device] = [pit, rtc]
    return always + [hpet].compactMap { $0 }
  }

  init(_ bench: Workbench, _ interrupts: InterruptPart) {
    let (configuration, wires) = (bench.configuration, interrupts.wires)
    hpet =
      configuration.hpet
      ? HPET(memory: bench.memory, clock: bench.clock, wires: wires) { [unowned ioapic = interrupts.ioapic] in
        ioapic.setPin($0, $1)
      } : nil
    pit = PIT8254(ports: bench.ports, clock: bench.clock, irq: hpet?.pitInput ?? wires.line(0))
    let isFixed = configuration.deterministic
    let date = isFixed ? Self.fixedDate : Self.hostDate(utc: configuration.rtcUseUTC)
    let wallClock: (() -> Int64)? = isFixed ? nil : { Self.wallClock() }
    rtc = RTC146818(
      ports: bench.ports, clock: bench.clock, irq: hpet?.rtcInput ?? wires.line(8),
      date: date, wallClock: wallClock)
  }

  /// What firmware reads of the board in the clock chip's memory.
  func fillCMOS(_ bench: Workbench, floppies: [FloppyDriveModel?]) {
    CMOSLayout.fill(rtc, bench.configuration, memory: bench.memory, floppies: floppies)
  }

  /// When time begins for a deterministic machine: 2000-01-01.
  private static let fixedDate: Int64 = 946_684_800

  /// The host's wall clock, nanoseconds since 1970, UTC.
  private static func wallClock() -> Int64 {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return Int64(now.tv_sec) * 1_000_000_000 + Int64(now.tv_nsec)
  }

  /// Seconds since 1970 for the clock chip: UTC, or the host's local time.
  private static func hostDate(utc: Bool) -> Int64 {
    // As the host's own programs take TZ, which Foundation reads otherwise ("UTC-3" is east of Greenwich).
    var now = time(nil)
    var local = tm()
    localtime_r(&now, &local)
    return Int64(now) + (utc ? 0 : Int64(local.tm_gmtoff))
  }
}
