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
    rtc = RTC146818(
      ports: bench.ports, clock: bench.clock, irq: hpet?.rtcInput ?? wires.line(8),
      date: Self.hostDate(utc: configuration.rtcUseUTC))
    CMOSLayout.fill(rtc, configuration, memory: bench.memory)
  }

  /// Seconds since 1970 for the clock chip: UTC, or the host's local time.
  private static func hostDate(utc: Bool) -> Int64 {
    let now = Date()
    let offset = utc ? 0 : TimeZone.current.secondsFromGMT(for: now)
    return Int64(now.timeIntervalSince1970) + Int64(offset)
  }
}
