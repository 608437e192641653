import CHost
import GuestMemory

@testable import X86

extension CPUGroup {
  /// `count` new CPUs of this group, in 64-bit code at CPL 0. Without paging, which no real CPU has there: virtual
  /// addresses are physical ones.
  func makeFlatCPUs(_ count: Int, memory: PhysicalMemory) -> [CPU] {
    (0..<count).map { index in
      let cpu = CPU(index: index, profile: .x86_64_v2, memory: memory, environment: CPUEnvironment())
      TestAccelerator.requireProof(of: cpu)
      cpu.join(self)
      for segment in 0..<6 {
        let attributes: UInt16 = segment == Int(VM_CS) ? 0xa09b : 0xc093
        cpu.segmentRegister(segment).pointee = vm_segment(base: 0, limit: .max, selector: 0, attributes: attributes)
      }
      cpu.s.pointee.cr0 = CR0.pe | CR0.et
      cpu.s.pointee.efer = EFER.lme | EFER.lma
      cpu.s.pointee.activity = UInt32(VM_ACTIVE)
      cpu.setFlags(EFLAGS.one, mask: .max)
      cpu.updateMode()
      return cpu
    }
  }
}
